"""Opsgenie, against a receiver that keeps alerts like its Alert API."""

from __future__ import annotations

import json
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import pytest

from alerts.channels import http, opsgenie
from alerts.channels.base import ChannelKind
from tests.alerts.channels.cases import MESSAGE, ChannelCases, HttpPeer, message
from tests.alerts.receiver import Receiver, responds

KEY = "eb243592-faa2-4ba2-a551-1afdf565c889"
ALIAS = "watchdog.example.com:incident-7"


class AlertApi(HttpPeer):
    """`alerts` holds the state of each by its alias."""

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(receiver, "", {})
        self.config = {"key": KEY}
        self.alerts: dict[str, str] = {}
        receiver.answer = self.check

    def check(self, peer: Any) -> None:
        request = self.receiver.requests[-1]
        method, target, _ = request.line.split()
        path, query = urlsplit(target).path, urlsplit(target).query
        body = json.loads(request.body)
        if request.headers.get("authorization") != f"GenieKey {KEY}":
            self.refuse(401, "Key format is not valid!")(peer)
        elif method != "POST" or not self.takes(path, query, body):
            self.refuse(422, "Request body is not processable. Please check the errors.")(peer)
        else:
            responds("202 Accepted", b'{"result": "Request will be processed", "requestId": "x"}')(peer)

    def takes(self, path: str, query: str, body: dict[str, Any]) -> bool:
        if len(body["source"]) > 100 or len(body["note"]) > 25_000:
            return False
        if path == "/v2/alerts":
            self.alerts[body["alias"]] = "open"
            return self.is_valid(body)
        _, _, _, alias, action = path.split("/")
        self.alerts[unquote(alias)] = {"close": "closed", "acknowledge": "acknowledged"}[action]
        return query == "identifierType=alias"

    def is_valid(self, body: dict[str, Any]) -> bool:
        limits = {"message": 130, "alias": 512, "description": 15_000, "entity": 512}
        fits = all(0 < len(body[name]) <= limit for name, limit in limits.items())
        details = sum(len(name) + len(value) for name, value in body["details"].items())
        return fits and details <= 8000 and body["priority"] in ("P1", "P2", "P3", "P4", "P5")

    def refuse(self, code: int, why: str, *headers: str) -> Any:
        return responds(f"{code} Error", json.dumps({"message": why, "took": 0.1}).encode(), *headers)


@pytest.fixture
def peer(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, allow_private: None) -> AlertApi:
    monkeypatch.setattr(http, "TOTAL_SECONDS", 0.4)
    monkeypatch.setitem(opsgenie.REGIONS, "us", receiver.url(""))
    return AlertApi(receiver)


class TestOpsgenie(ChannelCases):
    kind: ClassVar[ChannelKind] = opsgenie
    invalid: ClassVar[list[dict[str, Any]]] = [
        {},
        {"key": 7},
        {"key": "short"},
        {"key": f"{KEY}0"},
        {"key": "…c889"},
        {"key": KEY, "region": "moon"},
        {"key": KEY, "region": 7},
    ]

    def test_alert_is_opened_acknowledged_and_closed(self, peer: AlertApi) -> None:
        seen: list[str] = []
        for kind in ("opened", "updated", "acknowledged", "resolved"):
            self.send(peer, message(type=f"incident.{kind}"))
            seen += peer.alerts.values()
        assert seen == ["open", "open", "acknowledged", "closed"]
        assert list(peer.alerts) == [ALIAS]

    def test_alert_has_the_evidence(self, peer: AlertApi) -> None:
        self.send(peer, message(facts=(("Last message", "Reading `x`"),)))
        sent = json.loads(peer.received()[0])
        assert (sent["message"], sent["priority"]) == ("bot-1 is down", "P1")
        assert sent["details"] == {"Last message": "Reading x", "Incident": MESSAGE.url}
        assert sent["description"].startswith("No heartbeat for 2 min\n")

    def test_test_leaves_nothing_open(self, peer: AlertApi) -> None:
        self.send(peer, message(type="channel.test", severity="ok", thread="channel-5"))
        assert peer.alerts == {"watchdog.example.com:channel-5": "closed"}
        assert json.loads(peer.received()[0])["priority"] == "P5"

    @pytest.mark.parametrize("text", ["🤖" * 20_000, "`a` " * 9000, "a\nb" * 9000])
    def test_any_message_fits(self, peer: AlertApi, text: str) -> None:
        facts = tuple((f"{n}{text}", text) for n in range(40))
        self.send(peer, message(title=text, lines=(text,) * 9, facts=facts, team=text))
        self.send(peer, message(title=text, type="incident.resolved"))
        assert list(peer.alerts.values()) == ["closed"]

    def test_wrong_key_is_permanent(self, peer: AlertApi) -> None:
        peer.config["key"] = KEY.replace("e", "f")
        error = self.failure(peer)
        assert (error.permanent, error.disable) == (True, False)
        assert "API key" in str(error)

    def test_seconds_to_wait_come_from_its_header(self, peer: AlertApi) -> None:
        headers = ("X-RateLimit-State: THROTTLED", "X-RateLimit-Reason: ACCOUNT", "X-RateLimit-Period-In-Sec: 60")
        peer.receiver.answer = peer.refuse(429, "You are making too many requests!", *headers)
        error = self.failure(peer)
        assert (error.retry_after, error.permanent) == (60, False)

    @pytest.mark.parametrize(("code", "disables"), [(403, False), (404, False), (410, True), (422, False)])
    def test_rejections_are_permanent(self, peer: AlertApi, code: int, disables: bool) -> None:
        peer.receiver.answer = peer.refuse(code, "no")
        error = self.failure(peer)
        assert (error.permanent, error.disable) == (True, disables)

    def test_regions(self) -> None:
        assert opsgenie.parse({"key": KEY}).region == "us"
        assert opsgenie.parse({"key": KEY, "region": "eu"}).region == "eu"
        assert opsgenie.REGIONS["eu"] == "https://api.eu.opsgenie.com"

    def test_key_is_hidden(self) -> None:
        assert opsgenie.public({"key": KEY}) == {"key": "…c889", "region": "us"}
        assert opsgenie.SENDS_ACKNOWLEDGEMENTS
