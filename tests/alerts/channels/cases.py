"""Shared tests for every kind of channel. A channel's test module subclasses them and provides the receiver."""

from __future__ import annotations

import dataclasses
import logging
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest

from alerts import channels
from alerts.channels import http
from alerts.channels.base import ChannelError, ChannelKind, ConfigError, Message
from tests.alerts.receiver import responds, stays_silent

SECRET = "hidden-4711"

MESSAGE = Message(
    id="msg_0123456789",
    type="incident.opened",
    at=datetime(2026, 11, 23, 20, 25, 57, tzinfo=UTC),
    title="bot-1 is down",
    lines=("No heartbeat for 2 min", "Since 23 Nov 2026, 20:25:57 UTC (2 min)"),
    severity="critical",
    url="https://watchdog.example.com/admin/agents/incident/7/change/",
    team="Research",
    project="Production",
    payload={"incident": {"id": 7}, "agent": {"id": 17}, "project": "Production", "team": "Research"},
    thread="incident-7",
)


def message(**changes: Any) -> Message:
    return dataclasses.replace(MESSAGE, **changes)


class ChannelCases:
    """Subclasses set `kind` and `invalid` (settings to be rejected), and define a `peer` fixture: the receiver."""

    kind: ClassVar[ChannelKind]
    invalid: ClassVar[list[dict[str, Any]]]

    def send(self, peer: Any, what: Message = MESSAGE) -> None:
        self.kind.send(self.kind.parse(peer.config), what)

    def failure(self, peer: Any) -> ChannelError:
        with pytest.raises(ChannelError) as caught:
            self.send(peer)
        return caught.value

    def test_channel_is_registered_under_its_name(self) -> None:
        assert channels.BY_KIND[self.kind.KIND] is self.kind
        assert self.kind.LABEL

    def test_message_arrives(self, peer: Any) -> None:
        self.send(peer)
        assert len(peer.received()) == 1
        (text,) = peer.received()
        assert "bot-1 is down" in text or '"id":7' in text, f"received() has no title; does it decode the body? {text}"

    def test_hostile_names_arrive_as_text(self, peer: Any) -> None:
        nasty = "bot\r\nBcc: x@example.com <script>alert(1)</script> <!channel> & \x00 \ud7ff 🤖" + "x" * 9000
        self.send(peer, message(title=nasty, lines=(nasty,) * 60))
        (text,) = peer.received()
        assert "\nBcc:" not in text, "a line break of a name arrives as one; does received() leave it escaped?"

    def test_silent_receiver_is_retried(self, peer: Any) -> None:
        peer.be_silent()
        error = self.failure(peer)
        assert "in time" in str(error)
        assert not error.permanent
        assert not error.disable

    def test_absent_receiver_is_retried(self, peer: Any) -> None:
        peer.go_away()
        assert not self.failure(peer).permanent

    def test_failing_receiver_is_retried(self, peer: Any) -> None:
        peer.fail()
        assert not self.failure(peer).permanent

    def test_nonsense_response_is_retried(self, peer: Any) -> None:
        peer.talk_nonsense()
        assert not self.failure(peer).permanent

    def test_errors_and_logs_contain_no_secret(self, peer: Any, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        for fault in (peer.fail, peer.talk_nonsense, peer.go_away):
            fault()
            assert SECRET not in str(self.failure(peer))
        # "mail.log" is the log of the receiving server.
        ours = [record for record in caplog.records if record.name != "mail.log"]
        assert SECRET not in str([record.getMessage() for record in ours])

    def test_no_secret_is_shown(self, peer: Any) -> None:
        assert SECRET not in str(self.kind.public(peer.config))
        assert not self.kind.generate().keys() & self.kind.public(peer.config).keys()

    def test_invalid_settings_are_rejected(self) -> None:
        for data in self.invalid:
            with pytest.raises(ConfigError) as caught:
                self.kind.parse({**self.kind.generate(), **data})
            assert str(caught.value).endswith(".")
            assert caught.value.field in data or not data, f"{data} was rejected for its {caught.value.field}"

    def test_unknown_settings_are_ignored(self, peer: Any) -> None:
        assert self.kind.parse({**peer.config, "colour": "green"}) == self.kind.parse(peer.config)


class HttpPeer:
    """The receiver of channels that speak HTTP."""

    def __init__(self, receiver: Any, path: str, config: dict[str, Any]) -> None:
        self.receiver = receiver
        self.config = {"url": receiver.url(path), **config}

    def received(self) -> list[str]:
        return [request.body.decode() for request in self.receiver.requests]

    def be_silent(self) -> None:
        self.receiver.answer = stays_silent(self.receiver)

    def go_away(self) -> None:
        self.receiver.close()

    def fail(self) -> None:
        self.answers("503 Service Unavailable")

    def talk_nonsense(self) -> None:
        self.receiver.answer = lambda peer: peer.sendall(f"220 {SECRET} ESMTP\r\n".encode())

    def answers(self, status: str, *headers: str) -> None:
        self.receiver.answer = responds(status, SECRET.encode(), *headers)


class HttpCases(ChannelCases):
    """For channels that post through `alerts/channels/http.py`."""

    invalid: ClassVar[list[dict[str, Any]]] = [
        {},
        {"url": None},
        {"url": 7},
        {"url": ["https://example.com/"]},
        {"url": ""},
        {"url": "example.com"},
        {"url": "ftp://example.com/"},
        {"url": "https://user:word@example.com/"},
        {"url": "https://example.com/…abcd"},
    ]

    @pytest.fixture(autouse=True)
    def _short_timeout(self, allow_private: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http, "TOTAL_SECONDS", 0.4)

    def test_private_address_is_rejected_unless_allowed(self, peer: Any, settings: Any) -> None:
        settings.ALLOW_PRIVATE_TARGETS = False
        with pytest.raises(ConfigError, match="public"):
            self.kind.parse(peer.config)

    @pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
    def test_redirect_is_not_followed(self, peer: Any, status: str) -> None:
        peer.answers(status, f"Location: {peer.receiver.url('/elsewhere')}")
        assert "redirect" in str(self.failure(peer))
        assert len(peer.received()) == 1

    def test_retry_after_is_respected(self, peer: Any) -> None:
        peer.answers("429 Too Many Requests", "Retry-After: 77")
        assert self.failure(peer).retry_after == 77

    def test_410_disables_the_channel(self, peer: Any) -> None:
        peer.answers("410 Gone")
        error = self.failure(peer)
        assert error.permanent
        assert error.disable
