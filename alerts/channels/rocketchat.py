"""Rocket.Chat, through an incoming webhook."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec

from agents.reporting.formatting import plain
from alerts.channels import http, incoming_webhook
from alerts.channels.base import ChannelError, Message
from alerts.channels.texts import cut, printable

KIND: Final = "rocketchat"
LABEL: Final = "Rocket.Chat"
SENDS_ACKNOWLEDGEMENTS: Final = False

# Characters. Rocket.Chat rejects messages over 5,000 unless its administrator changes the limit; these add up to less.
MAX_TITLE: Final = 200
MAX_TEXT: Final = 2500
MAX_FACTS: Final = 8
MAX_LABEL: Final = 60
MAX_FACT: Final = 150
COLORS: Final = {"critical": "#c0362c", "warning": "#b45309", "ok": "#15803d"}
# After these, a space of no width: a name mentions nobody, names no channel and becomes no link.
_LINKS: Final = re.compile(r"([@#<\]]|:(?=//))")

generate: Final = incoming_webhook.generate
public: Final = incoming_webhook.public


class Config(msgspec.Struct, frozen=True):
    url: Annotated[
        str,
        msgspec.Meta(
            title="Webhook URL",
            description="From Rocket.Chat: Workspace, Integrations, Incoming. https://chat.example.com/hooks/…",
        ),
    ]


def parse(data: Mapping[str, Any]) -> Config:
    """`{"url": "https://chat.example.com/hooks/…"}`"""
    return incoming_webhook.parse(data, Config)


def send(config: Config, message: Message) -> None:
    reply = incoming_webhook.post(config, compose(message))
    if reply.is_success and http.json_of(reply).get("success") is not False:
        return
    if reply.is_success:
        # A script of the integration may reject the message. Its text may hold a secret.
        raise ChannelError("Rocket.Chat answered 200 with an error.", permanent=True)
    if reply.status in (404, 410):
        raise ChannelError(
            f"Rocket.Chat answered {reply.status}: this webhook no longer exists, or is disabled.",
            permanent=True,
            disable=True,
        )
    raise ChannelError(
        http.describe(reply),
        permanent=reply.status in (400, 401, 403, 413),
        retry_after=_until_reset(reply, datetime.now(UTC)),
    )


def _until_reset(reply: http.Reply, now: datetime) -> float | None:
    """Seconds until the next request is allowed, which Rocket.Chat names as a Unix time in milliseconds."""
    told = reply.headers.get("x-ratelimit-reset", "")
    if reply.status == 429 and told.isascii() and told.isdecimal() and len(told) < 15:
        return max(0.0, int(told) / 1000 - now.timestamp())
    return reply.retry_after


def compose(message: Message) -> dict[str, Any]:
    """One attachment: the problem, the facts, the evidence and a link. Nobody is mentioned."""
    attachment = {
        "color": COLORS.get(message.severity, "#6b7280"),
        "title": _shown(message.title, MAX_TITLE),
        "title_link": message.url,
        "text": _shown("\n".join(message.lines), MAX_TEXT),
        "fields": [
            {"title": _shown(label, MAX_LABEL), "value": _shown(text, MAX_FACT) or "-", "short": False}
            for label, text in message.facts[:MAX_FACTS]
        ],
    }
    # The text is what push notifications show.
    text = _shown(f"{message.title} ({message.team} / {message.project})", MAX_TITLE)
    return {"text": text, "parseUrls": False, "attachments": [attachment]}


def _shown(text: str, length: int) -> str:
    return cut(_LINKS.sub("\\1\u200b", printable(plain(text))), length)
