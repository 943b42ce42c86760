"""ntfy, against a receiver that checks its limits and answers with its errors."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from alerts.channels import ntfy
from alerts.channels.base import ChannelKind
from tests.alerts.channels.cases import SECRET, HttpCases, HttpPeer, message
from tests.alerts.receiver import Receiver, responds


class Server(HttpPeer):
    """Publishes like ntfy: JSON to the root, a topic, at most 4,096 bytes."""

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(receiver, "/", {"topic": "alerts", "token": f"tk_{SECRET}"})
        receiver.answer = self.check

    def check(self, peer: Any) -> None:
        request = self.receiver.requests[-1]
        body = json.loads(request.body)
        fits = len(body["message"].encode()) <= 4096 and 1 <= body["priority"] <= 5 and len(body["actions"]) <= 3
        if request.headers.get("authorization") != f"Bearer tk_{SECRET}":
            responds("403 Forbidden", b'{"code": 40301, "http": 403, "error": "forbidden"}')(peer)
        elif request.line != "POST / HTTP/1.1" or not body["topic"] or not fits:
            responds("400 Bad Request", b'{"code": 40024, "http": 400, "error": "invalid request"}')(peer)
        else:
            responds("200 OK", b'{"id": "x", "event": "message"}')(peer)


@pytest.fixture
def peer(receiver: Receiver) -> Server:
    return Server(receiver)


class TestNtfy(HttpCases):
    kind: ClassVar[ChannelKind] = ntfy
    invalid: ClassVar[list[dict[str, Any]]] = [
        {},
        {"topic": 7},
        {"topic": ""},
        {"topic": "two words"},
        {"topic": "a/b"},
        {"topic": "x" * 65},
        {"topic": "a", "url": "ftp://example.com/"},
        {"topic": "a", "url": 7},
        {"topic": "a", "token": "tk\nX-A: b"},
    ]

    def test_critical_alert_rings(self, peer: Server) -> None:
        self.send(peer)
        self.send(peer, message(severity="ok"))
        first, second = map(json.loads, peer.received())
        assert (first["priority"], second["priority"]) == (5, 3)
        assert first["click"] == first["actions"][0]["url"] == message().url
        assert first["title"] == "bot-1 is down"

    @pytest.mark.parametrize("text", ["x" * 9000, "ü" * 9000, "🤖" * 4000])
    def test_long_message_stays_a_message(self, peer: Server, text: str) -> None:
        self.send(peer, message(lines=(text,)))
        assert json.loads(peer.received()[0])["message"].endswith("…")

    def test_server_is_optional(self) -> None:
        assert ntfy.parse({"topic": "alerts"}).url == "https://ntfy.sh"

    def test_missing_access_is_explained(self, peer: Server) -> None:
        peer.config["token"] = "tk_other"
        error = self.failure(peer)
        assert error.permanent
        assert "access token" in str(error)

    def test_topic_and_token_are_hidden(self, peer: Server) -> None:
        assert ntfy.public({"topic": "long-hidden-topic", "token": "tk_0123456789"}) == {
            "topic": "…opic",
            "url": "https://ntfy.sh",
            "token": "…6789",
        }
