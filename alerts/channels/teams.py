"""Microsoft Teams, through the webhook of a workflow, as an Adaptive Card."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from agents.reporting.formatting import plain
from alerts.channels import http, incoming_webhook
from alerts.channels.base import ChannelError, Message
from alerts.channels.texts import cut_markdown, one_line

KIND: Final = "teams"
LABEL: Final = "Microsoft Teams"
SENDS_ACKNOWLEDGEMENTS: Final = False

# Teams rejects messages over 28 kB; these add up to less, with up to four bytes per character.
MAX_TITLE: Final = 250
MAX_TEXT: Final = 2400
MAX_FACTS: Final = 8
MAX_FACT: Final = 200
COLORS: Final = {"critical": "attention", "warning": "warning", "ok": "good"}
# What Adaptive Cards read as Markdown.
_MARKS: Final = re.compile(r"([\\*_\[\]`~]|^\s*[#>+-])", re.MULTILINE)

generate: Final = incoming_webhook.generate
public: Final = incoming_webhook.public


class Config(msgspec.Struct, frozen=True):
    url: Annotated[
        str,
        msgspec.Meta(
            title="Workflow URL",
            description="From Teams: Workflows, “Post to a channel when a webhook request is received”.",
        ),
    ]


def parse(data: Mapping[str, Any]) -> Config:
    """`{"url": "https://….logic.azure.com/workflows/…"}`"""
    return incoming_webhook.parse(data, Config)


def send(config: Config, message: Message) -> None:
    reply = incoming_webhook.post(config, compose(message))
    # 202: the workflow runs.
    if 200 <= reply.status < 300:
        return
    if reply.status in (404, 410):
        raise ChannelError(
            f"Teams answered {reply.status}: this workflow no longer exists.", permanent=True, disable=True
        )
    if reply.status in (401, 403):
        raise ChannelError(
            f"Teams answered {reply.status}: the workflow’s URL is no longer valid, or it is switched off.",
            permanent=True,
        )
    raise ChannelError(http.describe(reply), permanent=reply.status in (400, 413), retry_after=reply.retry_after)


def compose(message: Message) -> dict[str, Any]:
    """The body: one card with the problem, the facts, the evidence and a button."""
    color = COLORS.get(message.severity, "default")
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": cut_markdown(plain(message.title), MAX_TITLE),
        "body": [
            _text(cut_markdown(escape(message.title), MAX_TITLE), size="large", weight="bolder", color=color),
            # Two line breaks begin a new line.
            _text(cut_markdown("\n\n".join(map(escape, message.lines)) or "-", MAX_TEXT)),
            {"type": "FactSet", "facts": list(map(_fact, message.facts[:MAX_FACTS]))},
            _text(cut_markdown(escape(f"{message.team} / {message.project}"), MAX_FACT), isSubtle=True, size="small"),
        ],
        "actions": [{"type": "Action.OpenUrl", "title": "Open incident", "url": message.url}],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _text(text: str, **style: Any) -> dict[str, Any]:
    return {"type": "TextBlock", "text": text, "wrap": True, **style}


def _fact(fact: tuple[str, str]) -> dict[str, str]:
    label, text = fact
    return {
        "title": cut_markdown(escape(label), MAX_FACT),
        "value": cut_markdown(escape(" ".join(text.split())), MAX_FACT),
    }


def escape(text: str) -> str:
    """Text that a card shows as it is, so that a name can't become a link or a mention."""
    return _MARKS.sub(r"\\\1", one_line(plain(text))).replace("<at>", "<at >")
