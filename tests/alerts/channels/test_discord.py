"""Discord, against a receiver that checks its limits and answers with its errors."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from alerts.channels import discord
from alerts.channels.base import ChannelKind
from tests.alerts.channels.cases import SECRET, HttpCases, HttpPeer, message
from tests.alerts.receiver import Receiver, responds


class Discord(HttpPeer):
    """Rejects what Discord rejects."""

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(receiver, f"/api/webhooks/1/{SECRET}/abcd", {})
        receiver.answer = self.check

    def check(self, peer: Any) -> None:
        body = json.loads(self.receiver.requests[-1].body)
        (embed,) = body["embeds"]
        fields = embed["fields"]
        texts = [embed["title"], embed["description"], embed["footer"]["text"]]
        texts += [text for field in fields for text in field.values()]
        fits = len(embed["title"]) <= 256 and len(embed["description"]) <= 4096 and len(fields) <= 25
        fits = fits and all(0 < len(field["name"]) <= 256 and 0 < len(field["value"]) <= 1024 for field in fields)
        is_valid = fits and sum(map(len, texts)) <= 6000
        responds("204 No Content" if is_valid else "400 Bad Request", b"" if is_valid else b'{"code": 50035}')(peer)


@pytest.fixture
def peer(receiver: Receiver) -> Discord:
    return Discord(receiver)


class TestDiscord(HttpCases):
    kind: ClassVar[ChannelKind] = discord

    def embed(self, peer: Discord) -> dict[str, Any]:
        (embed,) = json.loads(peer.received()[-1])["embeds"]
        return dict(embed)

    def test_nobody_is_mentioned(self, peer: Discord) -> None:
        self.send(peer, message(title="@everyone", lines=("<@123> @here",)))
        assert json.loads(peer.received()[0])["allowed_mentions"] == {"parse": []}
        assert self.embed(peer)["description"] == "\\<\\@123\\> \\@here"

    def test_embed_links_to_the_incident(self, peer: Discord) -> None:
        self.send(peer)
        embed = self.embed(peer)
        assert embed["url"] == "https://watchdog.example.com/admin/agents/incident/7/change/"
        assert embed["color"] == discord.COLORS["critical"]
        assert embed["footer"]["text"] == "Research / Production"

    def test_names_are_not_markdown(self, peer: Discord) -> None:
        self.send(peer, message(lines=("[a](https://evil.example.com) **b** `search_*` called",)))
        text = self.embed(peer)["description"]
        assert text == r"\[a\]\(https\://evil.example.com\) \*\*b\*\* `search_*` called"

    @pytest.mark.parametrize("size", [10, 1000, 1024, 9000])
    def test_any_evidence_fits(self, peer: Discord, size: int) -> None:
        facts = tuple((f"Label {n}", "*" * size if n % 2 else "line\n" * size) for n in range(30))
        self.send(peer, message(title="t" * size, lines=("x" * size,) * 9, facts=facts))
        assert len(peer.received()) == 1

    def test_backticks_do_not_end_a_traceback(self, peer: Discord) -> None:
        self.send(peer, message(facts=(("Traceback", "a\n```\n@everyone"),)))
        assert self.embed(peer)["fields"][0]["value"].count("```") == 2

    def test_seconds_to_wait_come_from_the_body(self, peer: Discord) -> None:
        body = b'{"message": "You are being rate limited.", "retry_after": 1.337, "global": false}'
        peer.receiver.answer = responds("429 Too Many Requests", body, "Retry-After: 2")
        error = self.failure(peer)
        assert error.retry_after == 1.337
        assert not error.permanent

    @pytest.mark.parametrize(("status", "disables"), [("404 Not Found", True), ("401 Unauthorized", False)])
    def test_removed_webhook(self, peer: Discord, status: str, disables: bool) -> None:
        peer.answers(status)
        error = self.failure(peer)
        assert error.permanent
        assert error.disable is disables
