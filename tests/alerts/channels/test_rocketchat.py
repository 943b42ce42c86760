"""Rocket.Chat, against a receiver that checks its limits and answers with its errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest

from alerts.channels import http, rocketchat
from alerts.channels.base import ChannelKind
from tests.alerts.channels.cases import SECRET, HttpCases, HttpPeer, message
from tests.alerts.receiver import Receiver, responds

HOOK = f"/hooks/65f/{SECRET}abcd"


class Server(HttpPeer):
    """Rejects what Rocket.Chat rejects: unknown hooks, and messages over 5,000 characters."""

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(receiver, HOOK, {})
        receiver.answer = self.check

    def check(self, peer: Any) -> None:
        request = self.receiver.requests[-1]
        body = json.loads(request.body)
        (attachment,) = body["attachments"]
        fields = [text for field in attachment["fields"] for text in (field["title"], field["value"])]
        size = sum(map(len, [body["text"], attachment["title"], attachment["text"], *fields]))
        if request.line != f"POST {HOOK} HTTP/1.1":
            responds("404 Not Found", b'{"success": false, "error": "Invalid integration id or token provided."}')(peer)
        elif size > 5000 or not body["text"]:
            responds("400 Bad Request", b'{"success": false, "error": "error-message-size-exceeded"}')(peer)
        else:
            responds("200 OK", b'{"success": true}')(peer)


@pytest.fixture
def peer(receiver: Receiver) -> Server:
    return Server(receiver)


class TestRocketchat(HttpCases):
    kind: ClassVar[ChannelKind] = rocketchat

    def sent(self, peer: Server) -> dict[str, Any]:
        return dict(json.loads(peer.received()[-1]))

    def test_attachment_links_to_the_incident(self, peer: Server) -> None:
        self.send(peer, message(facts=(("Last message", "Reading `x`"),)))
        sent = self.sent(peer)
        (attachment,) = sent["attachments"]
        assert (attachment["title"], attachment["title_link"]) == ("bot-1 is down", message().url)
        assert attachment["fields"] == [{"title": "Last message", "value": "Reading x", "short": False}]
        assert (sent["text"], sent["parseUrls"]) == ("bot-1 is down (Research / Production)", False)

    @pytest.mark.parametrize("name", ["@all", "@here", "#general", "[a](b)", "<http://a|b>", "http://a"])
    def test_names_stay_names(self, peer: Server, name: str) -> None:
        self.send(peer, message(title=name, lines=(name,), team=name, facts=((name, name),)))
        assert name not in peer.received()[0]

    @pytest.mark.parametrize("text", ["@" * 9000, "🤖" * 9000, "\x00\n" * 9000])
    def test_any_message_fits(self, peer: Server, text: str) -> None:
        self.send(peer, message(title=text, lines=(text,) * 9, facts=((text, text),) * 30, team=text))
        assert len(peer.received()) == 1

    def test_removed_webhook_disables_the_channel(self, peer: Server) -> None:
        peer.config["url"] = peer.receiver.url("/hooks/65f/removed")
        error = self.failure(peer)
        assert (error.permanent, error.disable) == (True, True)

    @pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "403 Forbidden"])
    def test_rejections_are_permanent(self, peer: Server, status: str) -> None:
        peer.answers(status)
        error = self.failure(peer)
        assert (error.permanent, error.disable) == (True, False)

    def test_200_with_an_error_is_no_success(self, peer: Server) -> None:
        peer.receiver.answer = responds("200 OK", b'{"success": false}')
        assert self.failure(peer).permanent

    def test_seconds_until_the_reset(self) -> None:
        now = datetime(2026, 11, 30, 12, tzinfo=UTC)
        soon = str(int(now.timestamp() * 1000) + 2500)
        for told, wait in ((soon, 2.5), ("1", 0), ("soon", 5), ("٣", 5), ("9" * 400, 5)):
            assert rocketchat._until_reset(http.Reply(429, b"", 5.0, {"x-ratelimit-reset": told}), now) == wait

    def test_busy_server_is_retried(self, peer: Server) -> None:
        peer.answers("429 Too Many Requests", "X-RateLimit-Reset: 99999999999999")
        error = self.failure(peer)
        assert not error.permanent
        assert error.retry_after is not None
        assert error.retry_after > 10**9

    def test_url_is_hidden(self, peer: Server) -> None:
        assert rocketchat.public(peer.config) == {"url": "http://127.0.0.1/…abcd"}
