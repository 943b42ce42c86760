"""Alertmanager's webhook format, against a receiver that groups and resolves alerts like Grafana OnCall."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, ClassVar

import pytest

from alerts.channels import alertmanager
from alerts.channels.base import ChannelKind
from tests.alerts.channels.cases import SECRET, HttpCases, HttpPeer, message
from tests.alerts.receiver import Receiver, responds

PATH = f"/integrations/v1/alertmanager/{SECRET}abcd/"
KEYS = {
    *("version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels"),
    *("commonAnnotations", "externalURL", "alerts"),
}
ALERT_KEYS = {"status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"}
INCIDENT = {"id": 7, "kind": "down", "severity": "critical", "started_at": "2026-11-23T20:23:57Z"}


class OnCall(HttpPeer):
    """`groups` holds the state of each by its key."""

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(receiver, PATH, {"token": f"glsa_{SECRET}efgh"})
        self.groups: dict[str, str] = {}
        receiver.answer = self.check

    def check(self, peer: Any) -> None:
        request = self.receiver.requests[-1]
        if request.line != f"POST {PATH} HTTP/1.1":
            responds("404 Not Found", SECRET.encode())(peer)
        elif request.headers.get("authorization") != f"Bearer glsa_{SECRET}efgh":
            responds("403 Forbidden", SECRET.encode())(peer)
        elif len(request.body) > 1024 * 1024 or not self.is_valid(body := json.loads(request.body)):
            responds("400 Bad Request", SECRET.encode())(peer)
        else:
            self.groups[body["groupKey"]] = body["status"]
            responds("200 OK", b"Ok.")(peer)

    def is_valid(self, body: dict[str, Any]) -> bool:
        (alert,) = body["alerts"]
        is_whole = body.keys() == KEYS and alert.keys() == ALERT_KEYS and body["version"] == "4"
        texts = [*alert["labels"].values(), *alert["annotations"].values()]
        has_ended = datetime.fromisoformat(alert["endsAt"]).year > 1
        is_dated = datetime.fromisoformat(alert["startsAt"]).tzinfo is not None
        is_known = alert["status"] == body["status"] and has_ended is (body["status"] == "resolved")
        return is_whole and is_dated and is_known and all(isinstance(text, str) and text for text in texts)


@pytest.fixture
def peer(receiver: Receiver) -> OnCall:
    return OnCall(receiver)


class TestAlertmanager(HttpCases):
    kind: ClassVar[ChannelKind] = alertmanager
    invalid: ClassVar[list[dict[str, Any]]] = [
        *HttpCases.invalid,
        {"url": "https://example.com/", "token": 7},
        {"url": "https://example.com/", "token": "a\nX-A: b"},
        {"url": "https://example.com/", "token": "…efgh"},
    ]

    def alert(self, peer: OnCall) -> dict[str, Any]:
        (alert,) = json.loads(peer.received()[-1])["alerts"]
        return dict(alert)

    def test_group_fires_and_is_resolved(self, peer: OnCall) -> None:
        seen: list[str] = []
        for kind, severity in (("opened", "warning"), ("updated", "critical"), ("resolved", "ok")):
            # Its kind and severity may change.
            payload = {"incident": {**INCIDENT, "kind": kind, "severity": severity}, "agent": {"name": "bot-1"}}
            self.send(peer, message(type=f"incident.{kind}", severity=severity, payload=payload))
            seen += peer.groups.values()
        assert seen == ["firing", "firing", "resolved"]
        assert list(peer.groups) == ['{}:{incident="watchdog.example.com/incident-7"}']
        assert len({json.loads(body)["alerts"][0]["fingerprint"] for body in peer.received()}) == 1

    def test_alert_names_what_it_is_about(self, peer: OnCall) -> None:
        payload = {"incident": INCIDENT, "agent": {"name": "bot-1"}}
        self.send(peer, message(payload=payload, facts=(("Last message", "Reading `x`"),)))
        alert = self.alert(peer)
        assert alert["labels"] == {
            "alertname": "down",
            "incident": "watchdog.example.com/incident-7",
            "severity": "critical",
            "agent": "bot-1",
            "project": "Production",
            "team": "Research",
        }
        assert alert["annotations"]["summary"] == "bot-1 is down"
        assert alert["annotations"]["description"].endswith("Last message: Reading x")
        assert (alert["startsAt"], alert["endsAt"]) == (INCIDENT["started_at"], "0001-01-01T00:00:00Z")
        assert alert["generatorURL"] == message().url

    def test_recovery_keeps_the_severity_and_ends(self, peer: OnCall) -> None:
        self.send(peer, message(type="incident.resolved", severity="ok", payload={"incident": INCIDENT}))
        alert = self.alert(peer)
        assert (alert["labels"]["severity"], alert["endsAt"]) == ("critical", "2026-11-23T20:25:57Z")

    def test_test_leaves_nothing_firing(self, peer: OnCall) -> None:
        payload = {"incident": None, "agent": None}
        self.send(peer, message(type="channel.test", severity="ok", thread="channel-5", payload=payload))
        assert peer.groups == {'{}:{incident="watchdog.example.com/channel-5"}': "resolved"}
        assert self.alert(peer)["labels"]["alertname"] == "test"

    @pytest.mark.parametrize("text", ["🤖" * 9000, '"' * 9000, "\x00" * 9000])
    def test_any_message_fits(self, peer: OnCall, text: str) -> None:
        payload = {"incident": INCIDENT, "agent": {"name": text}}
        facts = ((text, text),) * 30
        self.send(peer, message(title=text, lines=(text,) * 9, facts=facts, team=text, payload=payload))
        assert list(peer.groups.values()) == ["firing"]

    @pytest.mark.parametrize(("status", "disables"), [("404 Not Found", True), ("400 Bad", False), ("403 No", False)])
    def test_rejections_are_permanent(self, peer: OnCall, status: str, disables: bool) -> None:
        peer.answers(status)
        error = self.failure(peer)
        assert (error.permanent, error.disable) == (True, disables)

    def test_token_is_optional(self) -> None:
        assert alertmanager.parse({"url": "https://example.com/"}).token == ""
        assert alertmanager.public({"url": "https://example.com/hooks/abcd"}) == {"url": "https://example.com/…abcd"}

    def test_url_and_token_are_hidden(self, peer: OnCall) -> None:
        url = f"{peer.receiver.url('/hooks/')}abcd"
        assert alertmanager.public({**peer.config, "url": url}) == {"url": "http://127.0.0.1/…abcd", "token": "…efgh"}
