"""Mattermost, through an incoming webhook."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from agents.reporting.formatting import plain
from alerts.channels import http, incoming_webhook
from alerts.channels.base import ChannelError, Message
from alerts.channels.texts import cut_markdown, printable

KIND: Final = "mattermost"
LABEL: Final = "Mattermost"
SENDS_ACKNOWLEDGEMENTS: Final = False

# Characters. Older servers reject attachments over 7,600 characters of JSON, in which a quote has two.
MAX_TITLE: Final = 200
MAX_TEXT: Final = 1600
MAX_FACTS: Final = 6
MAX_LABEL: Final = 60
MAX_FACT: Final = 150
MAX_FOOTER: Final = 150
COLORS: Final = {"critical": "#c0362c", "warning": "#b45309", "ok": "#15803d"}
INVALID: Final = "web.incoming_webhook.invalid.app_error"
# Everything that Markdown may read as a mark, except for the backticks around code.
_MARKS: Final = re.compile(r"([\\*_~|>#\[\]()<!`-])")
_CODE: Final = re.compile(r"(`[^`\n]+`)")
# A space of no width after these, so that a name mentions nobody and becomes no link.
_LINKS: Final = re.compile(r"(@|:(?=//)|(?<=www)\.)")

generate: Final = incoming_webhook.generate
public: Final = incoming_webhook.public


class Config(msgspec.Struct, frozen=True):
    url: Annotated[
        str,
        msgspec.Meta(
            title="Webhook URL",
            description="From Mattermost: Integrations, Incoming Webhooks. https://chat.example.com/hooks/…",
        ),
    ]


def parse(data: Mapping[str, Any]) -> Config:
    """`{"url": "https://chat.example.com/hooks/…"}`"""
    return incoming_webhook.parse(data, Config)


def send(config: Config, message: Message) -> None:
    reply = incoming_webhook.post(config, compose(message))
    if reply.is_success:
        return
    # Mattermost answers 400 for a webhook that was deleted, as for a message that it can't read.
    is_gone = reply.status in (404, 410) or (reply.status == 400 and http.json_of(reply).get("id") == INVALID)
    if is_gone:
        raise ChannelError(
            f"Mattermost answered {reply.status}: this webhook no longer exists.", permanent=True, disable=True
        )
    if reply.status == 501:
        raise ChannelError("Mattermost answered 501: its administrator has disabled incoming webhooks.")
    raise ChannelError(
        http.describe(reply), permanent=reply.status in (400, 401, 403, 413), retry_after=reply.retry_after
    )


def compose(message: Message) -> dict[str, Any]:
    """One attachment: the problem, the facts, the evidence and a link. Nobody is mentioned."""
    # A fallback, and a title with a link, are no Markdown.
    title = cut_markdown(_quiet(plain(printable(message.title))), MAX_TITLE)
    attachment = {
        "fallback": title,
        "color": COLORS.get(message.severity, "#6b7280"),
        "title": title,
        "title_link": message.url,
        "text": _shown("\n".join(message.lines), MAX_TEXT),
        "fields": [
            {"title": _shown(label, MAX_LABEL), "value": _shown(text, MAX_FACT) or "-", "short": False}
            for label, text in message.facts[:MAX_FACTS]
        ],
        "footer": _shown(f"{message.team} / {message.project}", MAX_FOOTER),
    }
    return {"attachments": [attachment]}


def _shown(text: str, length: int) -> str:
    return cut_markdown(escape(printable(text)), length)


def escape(text: str) -> str:
    """Text as Markdown that shows it as it is; code in backticks stays code."""
    parts = _CODE.split(text)
    shown = (part if position % 2 else _MARKS.sub(r"\\\1", part) for position, part in enumerate(parts))
    return _quiet("".join(shown))


def _quiet(text: str) -> str:
    """Text that mentions nobody and becomes no link."""
    return _LINKS.sub("\\1\u200b", text)
