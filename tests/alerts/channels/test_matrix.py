"""Matrix, against a homeserver that checks events and answers with its errors."""

from __future__ import annotations

import json
from typing import Any, ClassVar
from urllib.parse import quote, unquote

import pytest

from alerts.channels import matrix
from alerts.channels.base import ChannelKind
from tests.alerts.channels.cases import SECRET, HttpCases, HttpPeer, message
from tests.alerts.receiver import Receiver, responds

ROOM = "!abc:example.com"


class Homeserver(HttpPeer):
    """`events` holds the events of the room by their transaction."""

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(receiver, "/", {"token": f"syt_{SECRET}abcd", "room": ROOM})
        self.events: dict[str, dict[str, Any]] = {}
        receiver.answer = self.check

    def check(self, peer: Any) -> None:
        request = self.receiver.requests[-1]
        method, path, _ = request.line.split()
        prefix = f"/_matrix/client/v3/rooms/{quote(ROOM, safe='')}/send/m.room.message/"
        if method != "PUT" or not path.startswith("/_matrix/client/v3/rooms/"):
            self.refuse(404, "M_UNRECOGNIZED")(peer)
        elif request.headers.get("authorization") != f"Bearer syt_{SECRET}abcd":
            self.refuse(401, "M_UNKNOWN_TOKEN")(peer)
        elif not path.startswith(prefix):
            self.refuse(403, "M_FORBIDDEN")(peer)
        elif len(request.body) > 65_000:
            self.refuse(413, "M_TOO_LARGE")(peer)
        else:
            self.events.setdefault(unquote(path.removeprefix(prefix)), json.loads(request.body))
            responds("200 OK", b'{"event_id": "$YUwRidLecu"}')(peer)

    def refuse(self, code: int, name: str, **more: Any) -> Any:
        body = {"errcode": name, "error": f"no {SECRET}", **more}
        return responds(f"{code} Error", json.dumps(body).encode())


@pytest.fixture
def peer(receiver: Receiver) -> Homeserver:
    return Homeserver(receiver)


class TestMatrix(HttpCases):
    kind: ClassVar[ChannelKind] = matrix
    invalid: ClassVar[list[dict[str, Any]]] = [
        *HttpCases.invalid,
        {"url": "https://example.com/?a", "token": "a", "room": ROOM},
        {"url": "https://example.com", "token": 7, "room": ROOM},
        {"url": "https://example.com", "token": "", "room": ROOM},
        {"url": "https://example.com", "token": "…abcd", "room": ROOM},
        {"url": "https://example.com", "token": "a\nX-A: b", "room": ROOM},
        {"url": "https://example.com", "token": "a", "room": "#name:example.com"},
        {"url": "https://example.com", "token": "a", "room": "!a/../b:example.com"},
        {"url": "https://example.com", "token": "a", "room": 7},
    ]

    def event(self, peer: Homeserver) -> dict[str, Any]:
        return dict(json.loads(peer.received()[-1]))

    def test_repeated_attempts_are_one_message(self, peer: Homeserver) -> None:
        self.send(peer)
        self.send(peer)
        assert list(peer.events) == ["msg_0123456789"]

    def test_message_is_text_and_html(self, peer: Homeserver) -> None:
        self.send(peer, message(lines=("`search` called <40> times",), facts=(("Trace", "a\nb"),)))
        event = self.event(peer)
        assert "search called <40> times\nTrace: a\nb\nhttps://watchdog" in event["body"]
        assert "<code>search</code> called &lt;40&gt; times<br>Trace: a<br>b<br><a href=" in event["formatted_body"]
        assert (event["format"], event["m.mentions"]) == ("org.matrix.custom.html", {})

    def test_recovery_makes_no_sound(self, peer: Homeserver) -> None:
        self.send(peer)
        assert self.event(peer)["msgtype"] == "m.text"
        self.send(peer, message(id="msg_2", severity="ok"))
        assert self.event(peer)["msgtype"] == "m.notice"

    @pytest.mark.parametrize("text", ["'" * 9000, "`a` " * 3000, "<b>" * 3000, "🤖" * 9000, "\x00\n" * 9000])
    def test_any_message_fits(self, peer: Homeserver, text: str) -> None:
        self.send(peer, message(title=text, lines=(text,) * 9, facts=((text, text),) * 30, team=text))
        html = self.event(peer)["formatted_body"]
        assert len(peer.events) == 1
        assert html.count("<code>") == html.count("</code>")
        assert "<b>" not in html

    def test_rooms_of_version_12_have_no_server(self) -> None:
        room = "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM"
        assert matrix.parse({"url": "https://example.com", "token": "a", "room": room}).room == room

    def test_milliseconds_to_wait_come_from_the_body(self, peer: Homeserver) -> None:
        peer.receiver.answer = peer.refuse(429, "M_LIMIT_EXCEEDED", retry_after_ms=2500)
        error = self.failure(peer)
        assert (error.retry_after, error.permanent) == (2.5, False)

    @pytest.mark.parametrize("wait", ["soon", -1, None, True, []])
    def test_nonsense_wait_is_ignored(self, peer: Homeserver, wait: Any) -> None:
        peer.receiver.answer = peer.refuse(429, "M_LIMIT_EXCEEDED", retry_after_ms=wait)
        assert self.failure(peer).retry_after is None

    @pytest.mark.parametrize(("field", "value", "why"), [("token", "a", "token"), ("room", "!b:example.com", "room")])
    def test_wrong_settings_are_permanent(self, peer: Homeserver, field: str, value: str, why: str) -> None:
        peer.config[field] = value
        error = self.failure(peer)
        assert (error.permanent, error.disable) == (True, False)
        assert why in str(error)

    @pytest.mark.parametrize("code", [400, 401, 403, 404, 413])
    def test_rejections_are_permanent(self, peer: Homeserver, code: int) -> None:
        peer.receiver.answer = peer.refuse(code, "M_UNKNOWN")
        error = self.failure(peer)
        assert (error.permanent, error.disable) == (True, False)

    def test_200_without_an_event_is_no_success(self, peer: Homeserver) -> None:
        peer.receiver.answer = responds("200 OK", b"<html>Welcome</html>")
        assert not self.failure(peer).permanent

    def test_token_is_hidden(self, peer: Homeserver) -> None:
        assert matrix.public(peer.config) == {"url": peer.config["url"], "token": "…abcd", "room": ROOM}
