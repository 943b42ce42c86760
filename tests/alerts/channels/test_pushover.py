"""Pushover, against a receiver that checks its limits and answers with its errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest

from alerts.channels import http, pushover
from alerts.channels.base import ChannelKind
from tests.alerts.channels.cases import MESSAGE, ChannelCases, HttpPeer, message
from tests.alerts.receiver import Receiver, responds

TOKEN = "azGDORePK8gMaC0QOYAMyEEuzJnyUi"
USER = "uQiRzpo4DXghDmr9QzzfQu27cmVRsG"
LIMITS = {"title": 250, "message": 1024, "url": 512, "url_title": 100}


class MessageApi(HttpPeer):
    def __init__(self, receiver: Receiver) -> None:
        super().__init__(receiver, "", {})
        self.config = {"token": TOKEN, "user": USER}
        receiver.answer = self.check

    def check(self, peer: Any) -> None:
        request = self.receiver.requests[-1]
        body = json.loads(request.body)
        if request.line != "POST /1/messages.json HTTP/1.1":
            self.refuse(404)(peer)
        elif wrong := [name for name, right in (("token", TOKEN), ("user", USER)) if body[name] != right]:
            self.refuse(400, **dict.fromkeys(wrong, "invalid"))(peer)
        elif not body["message"] or any(len(body.get(name, "")) > limit for name, limit in LIMITS.items()):
            self.refuse(400, message="too long")(peer)
        elif body["priority"] not in (-2, -1, 0, 1):
            self.refuse(400, expire="must be supplied with priority=2")(peer)
        else:
            responds("200 OK", b'{"status": 1, "request": "647d2300"}')(peer)

    def refuse(self, code: int, *headers: str, **wrong: str) -> Any:
        body = {**wrong, "errors": [f"{name} {why}" for name, why in wrong.items()], "status": 0}
        return responds(f"{code} Error", json.dumps(body).encode(), *headers)


@pytest.fixture
def peer(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, allow_private: None) -> MessageApi:
    monkeypatch.setattr(http, "TOTAL_SECONDS", 0.4)
    monkeypatch.setattr(pushover, "API", receiver.url(""))
    return MessageApi(receiver)


class TestPushover(ChannelCases):
    kind: ClassVar[ChannelKind] = pushover
    invalid: ClassVar[list[dict[str, Any]]] = [
        {},
        {"token": 7, "user": USER},
        {"token": "short", "user": USER},
        {"token": TOKEN, "user": f"{USER}a"},
        {"token": "…nyUi", "user": USER},
        {"token": TOKEN, "user": USER, "device": "two words"},
        {"token": TOKEN, "user": USER, "device": 7},
    ]

    def test_critical_alert_passes_quiet_hours(self, peer: MessageApi) -> None:
        for severity in ("critical", "warning", "ok"):
            self.send(peer, message(severity=severity))
        assert [json.loads(body)["priority"] for body in peer.received()] == [1, 0, -1]

    def test_notification_links_to_the_incident(self, peer: MessageApi) -> None:
        peer.config["device"] = "phone,tablet"
        self.send(peer, message(facts=(("Last message", "Reading `x`"),)))
        sent = json.loads(peer.received()[0])
        assert (sent["url"], sent["device"]) == (MESSAGE.url, "phone,tablet")
        assert sent["timestamp"] == MESSAGE.at.timestamp()
        assert "Last message: Reading x" in sent["message"]
        assert "html" not in sent, "a name must not become a link"

    @pytest.mark.parametrize("text", ["x" * 9000, "🤖" * 9000, "\x00" * 9000])
    def test_any_message_fits(self, peer: MessageApi, text: str) -> None:
        self.send(peer, message(title=text, lines=(text,) * 9, facts=((text, text),) * 30, team=text))
        assert json.loads(peer.received()[0])["message"].endswith("…")

    def test_long_address_is_left_out(self, peer: MessageApi) -> None:
        self.send(peer, message(url=f"https://watchdog.example.com/{'x' * 600}"))
        assert "url" not in json.loads(peer.received()[0])

    @pytest.mark.parametrize(("name", "said"), [("token", "application token"), ("user", "group key")])
    def test_wrong_key_is_permanent(self, peer: MessageApi, name: str, said: str) -> None:
        peer.config[name] = "a" * 30
        error = self.failure(peer)
        assert (error.permanent, error.disable) == (True, False)
        assert said in str(error)

    def test_used_up_limit_waits_for_the_reset(self, peer: MessageApi) -> None:
        peer.receiver.answer = peer.refuse(429, "X-Limit-App-Limit: 10000", "X-Limit-App-Reset: 9999999999")
        error = self.failure(peer)
        assert not error.permanent
        assert "monthly limit" in str(error)
        assert error.retry_after is not None
        assert error.retry_after > 10**9

    def test_seconds_until_the_reset(self) -> None:
        now = datetime(2026, 11, 30, 12, tzinfo=UTC)
        for told, wait in ((str(int(now.timestamp()) + 90), 90), ("1", 0), ("soon", 5), ("٣", 5), ("9" * 400, 5)):
            assert pushover._until_reset(http.Reply(429, b"", 5.0, {"x-limit-app-reset": told}), now) == wait

    @pytest.mark.parametrize(("code", "disables"), [(400, False), (403, False), (404, False), (410, True)])
    def test_rejections_are_permanent(self, peer: MessageApi, code: int, disables: bool) -> None:
        peer.receiver.answer = peer.refuse(code)
        error = self.failure(peer)
        assert (error.permanent, error.disable) == (True, disables)

    def test_200_without_status_is_no_success(self, peer: MessageApi) -> None:
        peer.receiver.answer = responds("200 OK", b'{"status": 0}')
        assert not self.failure(peer).permanent

    def test_token_and_key_are_hidden(self) -> None:
        assert pushover.public({"token": TOKEN, "user": USER}) == {"token": "…nyUi", "user": "…VRsG"}
