"""Mattermost, against a receiver that checks its limits and answers with its errors."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from alerts.channels import mattermost
from alerts.channels.base import ChannelKind
from tests.alerts.channels.cases import SECRET, HttpCases, HttpPeer, message
from tests.alerts.receiver import Receiver, responds

HOOK = f"/hooks/{SECRET}abcd"


class Server(HttpPeer):
    """Rejects what Mattermost rejects: unknown hooks, empty posts and large attachments."""

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(receiver, HOOK, {})
        receiver.answer = self.check

    def check(self, peer: Any) -> None:
        request = self.receiver.requests[-1]
        body = json.loads(request.body)
        size = len(json.dumps(body["attachments"], ensure_ascii=False))
        if request.line != f"POST {HOOK} HTTP/1.1":
            self.refuse(400, "web.incoming_webhook.invalid.app_error")(peer)
        elif not (body.get("text") or body["attachments"]):
            self.refuse(400, "web.incoming_webhook.text.app_error")(peer)
        elif size > 7600:
            self.refuse(400, "web.incoming_webhook.split_props_length.app_error")(peer)
        else:
            responds("200 OK", b"ok")(peer)

    def refuse(self, code: int, name: str, *headers: str) -> Any:
        body = {"id": name, "message": f"no {SECRET}", "request_id": "x", "status_code": code}
        return responds(f"{code} Error", json.dumps(body).encode(), *headers)


@pytest.fixture
def peer(receiver: Receiver) -> Server:
    return Server(receiver)


class TestMattermost(HttpCases):
    kind: ClassVar[ChannelKind] = mattermost

    def attachment(self, peer: Server) -> dict[str, Any]:
        (attachment,) = json.loads(peer.received()[-1])["attachments"]
        return dict(attachment)

    def test_attachment_links_to_the_incident(self, peer: Server) -> None:
        self.send(peer, message(facts=(("Last message", "Reading `x`"),)))
        attachment = self.attachment(peer)
        assert (attachment["title"], attachment["title_link"]) == ("bot-1 is down", message().url)
        assert attachment["color"] == mattermost.COLORS["critical"]
        assert attachment["fields"] == [{"title": "Last message", "value": "Reading `x`", "short": False}]
        assert attachment["footer"] == "Research / Production"

    @pytest.mark.parametrize("name", ["@all", "@channel", "`@here`", "`@here" + "x" * 2000])
    def test_nobody_is_mentioned(self, peer: Server, name: str) -> None:
        self.send(peer, message(title=name, lines=(name,), team=name, facts=((name, name),)))
        assert f"{name.strip('`')[:5]}" not in peer.received()[0]

    def test_names_are_not_markdown(self, peer: Server) -> None:
        self.send(peer, message(lines=("[a](https://evil.example.com) **b** `search_*` ```",)))
        text = self.attachment(peer)["text"]
        assert text == "\\[a\\]\\(https:\u200b//evil.example.com\\) \\*\\*b\\*\\* `search_*` \\`\\`\\`"

    @pytest.mark.parametrize("text", ["*" * 9000, "🤖" * 9000, '"' * 9000, "\\" * 9000, "\x00\n" * 9000])
    def test_any_message_fits(self, peer: Server, text: str) -> None:
        self.send(peer, message(title=text, lines=(text,) * 9, facts=((text, text),) * 30, team=text))
        assert len(peer.received()) == 1

    def test_removed_webhook_disables_the_channel(self, peer: Server) -> None:
        peer.config["url"] = peer.receiver.url("/hooks/removed")
        error = self.failure(peer)
        assert (error.permanent, error.disable) == (True, True)
        assert SECRET not in str(error)

    @pytest.mark.parametrize(("status", "disables"), [("404 Not Found", True), ("400 Bad", False), ("403 No", False)])
    def test_rejections_are_permanent(self, peer: Server, status: str, disables: bool) -> None:
        peer.answers(status)
        error = self.failure(peer)
        assert (error.permanent, error.disable) == (True, disables)

    def test_disabled_webhooks_are_explained(self, peer: Server) -> None:
        peer.receiver.answer = peer.refuse(501, "web.incoming_webhook.disabled.app_error")
        error = self.failure(peer)
        assert not error.permanent
        assert "administrator" in str(error)

    def test_url_is_hidden(self, peer: Server) -> None:
        assert mattermost.public(peer.config) == {"url": "http://127.0.0.1/…abcd"}
