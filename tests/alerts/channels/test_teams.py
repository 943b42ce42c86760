"""Microsoft Teams, against a workflow that checks the card and the size."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from alerts.channels import teams
from alerts.channels.base import ChannelKind
from tests.alerts.channels.cases import SECRET, HttpCases, HttpPeer, message
from tests.alerts.receiver import Receiver, responds


class Workflow(HttpPeer):
    def __init__(self, receiver: Receiver) -> None:
        super().__init__(receiver, f"/workflows/1/triggers/manual/paths/invoke?sig={SECRET}abcd", {})
        receiver.answer = self.check

    def check(self, peer: Any) -> None:
        body = self.receiver.requests[-1].body
        (attachment,) = json.loads(body)["attachments"]
        card = attachment["content"]
        is_card = (
            attachment["contentType"] == "application/vnd.microsoft.card.adaptive" and card["type"] == "AdaptiveCard"
        )
        texts = [block["text"] for block in card["body"] if block["type"] == "TextBlock"]
        is_valid = is_card and len(body) <= 28 * 1024 and all(texts)
        responds("202 Accepted" if is_valid else "400 Bad Request")(peer)


@pytest.fixture
def peer(receiver: Receiver) -> Workflow:
    return Workflow(receiver)


class TestTeams(HttpCases):
    kind: ClassVar[ChannelKind] = teams

    def card(self, peer: Workflow) -> dict[str, Any]:
        card: dict[str, Any] = json.loads(peer.received()[-1])["attachments"][0]["content"]
        return card

    def test_card_has_facts_and_a_button(self, peer: Workflow) -> None:
        self.send(peer, message(facts=(("Last message", "Reading"),)))
        card = self.card(peer)
        assert card["body"][0]["text"] == "bot-1 is down"
        assert card["body"][0]["color"] == "attention"
        assert card["body"][2]["facts"] == [{"title": "Last message", "value": "Reading"}]
        assert card["actions"][0]["url"] == message().url

    def test_names_are_not_markdown_or_mentions(self, peer: Workflow) -> None:
        self.send(peer, message(lines=("[a](https://evil.example.com) <at>all</at>",)))
        text = self.card(peer)["body"][1]["text"]
        assert text == r"\[a\](https://evil.example.com) <at >all</at>"

    @pytest.mark.parametrize("text", ["x" * 9000, "🤖" * 9000, "\x00" * 9000, "*" * 9000])
    def test_any_message_fits(self, peer: Workflow, text: str) -> None:
        facts = tuple((text, text) for _ in range(30))
        self.send(peer, message(title=text, lines=(text,) * 9, facts=facts, team=text))
        assert len(peer.received()) == 1

    @pytest.mark.parametrize(
        ("status", "disables"), [("404 Not Found", True), ("401 Unauthorized", False), ("400 Bad Request", False)]
    )
    def test_permanent_errors(self, peer: Workflow, status: str, disables: bool) -> None:
        peer.answers(status)
        error = self.failure(peer)
        assert error.permanent
        assert error.disable is disables
