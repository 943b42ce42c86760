"""Gotify, against a receiver that takes messages like its REST API and answers with its errors."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from alerts.channels import gotify
from alerts.channels.base import ChannelKind
from tests.alerts.channels.cases import SECRET, HttpCases, HttpPeer, message
from tests.alerts.receiver import Receiver, responds


class Server(HttpPeer):
    """Served under a path of its own, as behind a proxy."""

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(receiver, "/push/", {"token": f"A{SECRET}.abcd"})
        receiver.answer = self.check

    def check(self, peer: Any) -> None:
        request = self.receiver.requests[-1]
        body = json.loads(request.body)
        if request.line != "POST /push/message HTTP/1.1":
            self.refuse(404, "Not Found")(peer)
        elif request.headers.get("x-gotify-key") != f"A{SECRET}.abcd":
            self.refuse(401, "Unauthorized")(peer)
        elif not body["message"] or not isinstance(body["priority"], int):
            self.refuse(400, "Bad Request")(peer)
        else:
            responds("200 OK", b'{"id": 25, "appid": 5}')(peer)

    def refuse(self, code: int, error: str) -> Any:
        body = {"error": error, "errorCode": code, "errorDescription": f"no {SECRET}"}
        return responds(f"{code} {error}", json.dumps(body).encode())


@pytest.fixture
def peer(receiver: Receiver) -> Server:
    return Server(receiver)


class TestGotify(HttpCases):
    kind: ClassVar[ChannelKind] = gotify
    invalid: ClassVar[list[dict[str, Any]]] = [
        *HttpCases.invalid,
        {"url": "https://example.com/?token=a", "token": "a"},
        {"url": "https://example.com/#a", "token": "a"},
        {"url": "https://example.com/", "token": 7},
        {"url": "https://example.com/", "token": ""},
        {"url": "https://example.com/", "token": "a\nX-A: b"},
        {"url": "https://example.com/", "token": "…abcd"},
    ]

    def test_critical_alert_rings(self, peer: Server) -> None:
        for severity in ("critical", "warning", "ok"):
            self.send(peer, message(severity=severity))
        assert [json.loads(body)["priority"] for body in peer.received()] == [8, 5, 2]

    def test_tap_opens_the_incident(self, peer: Server) -> None:
        self.send(peer, message(facts=(("Last message", "Reading `x`"),)))
        sent = json.loads(peer.received()[0])
        assert sent["extras"]["client::notification"] == {"click": {"url": message().url}}
        assert sent["message"].endswith("Last message: Reading x\nResearch / Production")

    def test_names_are_not_markdown(self, peer: Server) -> None:
        self.send(peer, message(title="[a](https://evil.example.com)"))
        assert json.loads(peer.received()[0])["extras"]["client::display"] == {"contentType": "text/plain"}

    def test_wrong_token_is_permanent(self, peer: Server) -> None:
        peer.config["token"] = "other"
        error = self.failure(peer)
        assert (error.permanent, error.disable) == (True, False)
        assert "application token" in str(error)

    def test_wrong_path_is_permanent(self, peer: Server) -> None:
        peer.config["url"] = peer.receiver.url("/")
        error = self.failure(peer)
        assert error.permanent
        assert "no Gotify server" in str(error)

    def test_token_is_hidden(self, peer: Server) -> None:
        assert gotify.public(peer.config) == {"url": peer.config["url"], "token": "…abcd"}
