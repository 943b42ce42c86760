"""PagerDuty, against a receiver that keeps incidents like the Events API v2."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from alerts.channels import http, pagerduty
from alerts.channels.base import ChannelKind
from tests.alerts.channels.cases import MESSAGE, ChannelCases, HttpPeer, message
from tests.alerts.receiver import Receiver, responds

KEY = "R0" + "A1b2C3" * 5


class EventsApi(HttpPeer):
    """`incidents` holds the state of each by its dedup key."""

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(receiver, "", {})
        self.config = {"key": KEY}
        self.incidents: dict[str, str] = {}
        receiver.answer = self.check

    def check(self, peer: Any) -> None:
        request = self.receiver.requests[-1]
        event = json.loads(request.body)
        if request.line != "POST /v2/enqueue HTTP/1.1" or not self.is_valid(event) or len(request.body) > 512 * 1024:
            responds("400 Bad Request", b'{"status": "invalid event"}')(peer)
            return
        self.incidents[event["dedup_key"]] = event["event_action"]
        responds("202 Accepted", b'{"status": "success"}')(peer)

    def is_valid(self, event: dict[str, Any]) -> bool:
        if event["routing_key"] != KEY or not 0 < len(event["dedup_key"]) <= 255:
            return False
        if event["event_action"] in ("acknowledge", "resolve"):
            return True
        payload = event["payload"]
        is_known = payload["severity"] in ("critical", "error", "warning", "info")
        return is_known and 0 < len(payload["summary"]) <= 1024 and bool(payload["source"])


@pytest.fixture
def peer(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, allow_private: None) -> EventsApi:
    monkeypatch.setattr(http, "TOTAL_SECONDS", 0.4)
    monkeypatch.setitem(pagerduty.REGIONS, "us", receiver.url(""))
    return EventsApi(receiver)


class TestPagerduty(ChannelCases):
    kind: ClassVar[ChannelKind] = pagerduty
    invalid: ClassVar[list[dict[str, Any]]] = [
        {},
        {"key": 7},
        {"key": "short"},
        {"key": "x" * 33},
        {"key": f"{KEY[:-1]}…"},
        {"key": KEY, "region": "moon"},
        {"key": KEY, "region": 7},
    ]

    def sent(self, peer: EventsApi) -> dict[str, Any]:
        return dict(json.loads(peer.received()[-1]))

    def test_incident_is_triggered_acknowledged_and_resolved(self, peer: EventsApi) -> None:
        seen: list[str] = []
        for kind in ("opened", "updated", "acknowledged", "resolved"):
            self.send(peer, message(type=f"incident.{kind}"))
            seen += peer.incidents.values()
        assert seen == ["trigger", "trigger", "acknowledge", "resolve"]
        assert list(peer.incidents) == ["watchdog.example.com/incident-7"]

    def test_event_has_the_evidence(self, peer: EventsApi) -> None:
        self.send(peer, message(facts=(("Last message", "Reading `x`"),)))
        sent = self.sent(peer)
        assert sent["payload"]["summary"] == "bot-1 is down"
        assert sent["payload"]["severity"] == "critical"
        assert sent["payload"]["custom_details"]["Last message"] == "Reading x"
        assert sent["links"] == [{"href": MESSAGE.url, "text": "Open incident"}]

    def test_test_leaves_nothing_open(self, peer: EventsApi) -> None:
        self.send(peer, message(type="channel.test", severity="ok", thread="channel-5"))
        assert peer.incidents == {"watchdog.example.com/channel-5": "resolve"}
        assert json.loads(peer.received()[0])["payload"]["severity"] == "info"

    def test_any_message_fits(self, peer: EventsApi) -> None:
        text = "🤖" * 9000
        self.send(peer, message(title=text, lines=(text,) * 9, facts=((text, text),) * 30, team=text, thread=text))
        assert len(peer.received()) == 1

    def test_wrong_key_is_permanent(self, peer: EventsApi) -> None:
        peer.config["key"] = "a" * 32
        error = self.failure(peer)
        assert error.permanent
        assert "integration key" in str(error)

    @pytest.mark.parametrize("status", ["429 Too Many Requests", "500 Internal Server Error"])
    def test_busy_server_is_retried(self, peer: EventsApi, status: str) -> None:
        peer.answers(status)
        assert not self.failure(peer).permanent

    def test_regions(self) -> None:
        assert pagerduty.parse({"key": KEY}).region == "us"
        assert pagerduty.parse({"key": KEY, "region": "eu"}).region == "eu"

    def test_acknowledgements_are_sent(self) -> None:
        assert pagerduty.SENDS_ACKNOWLEDGEMENTS
