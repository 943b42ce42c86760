"""Slack, through an incoming webhook. Chats that accept Slack's format work, too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from alerts.channels import http, incoming_webhook
from alerts.channels.base import ChannelError, Message

KIND: Final = "slack"
LABEL: Final = "Slack"
SENDS_ACKNOWLEDGEMENTS: Final = False

# Slack rejects longer texts (characters as sent)
MAX_HEADER: Final = 150
MAX_SECTION: Final = 3000
_BROKEN_ESCAPE: Final = re.compile(r"&[a-z]*$")
MARKS: Final = {"critical": "🔴", "warning": "🟠", "ok": "🟢"}

generate: Final = incoming_webhook.generate
public: Final = incoming_webhook.public


class Config(msgspec.Struct, frozen=True):
    url: Annotated[
        str,
        msgspec.Meta(
            title="Webhook URL", description="From Slack’s incoming webhooks: https://hooks.slack.com/services/…"
        ),
    ]


def parse(data: Mapping[str, Any]) -> Config:
    """`{"url": "https://hooks.slack.com/services/…"}`"""
    return incoming_webhook.parse(data, Config)


def send(config: Config, message: Message) -> None:
    reply = incoming_webhook.post(config, compose(message))
    if 200 <= reply.status < 300 and http.json_of(reply).get("ok") is not False:
        return
    if 200 <= reply.status < 300:
        # Slack's API, and chats that imitate it, answer 200 to what they reject. Their text may hold a secret.
        raise ChannelError("The receiver answered 200 with an error.", permanent=True)
    if reply.status in (404, 410):
        raise ChannelError(
            f"Slack answered {reply.status}: this webhook no longer exists.", permanent=True, disable=True
        )
    raise ChannelError(http.describe(reply), permanent=reply.status in (400, 403), retry_after=reply.retry_after)


def compose(message: Message) -> dict[str, Any]:
    """The body: a header, the facts, a link. `text` is shown in push notifications."""
    mark = MARKS.get(message.severity, "")
    origin = f"<{message.url}|Open in ClevAgent Watchdog> · {escape(message.team)} / {escape(message.project)}"
    return {
        "text": _cut(escape(f"{mark} {message.title}"), MAX_SECTION),
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": _cut(f"{mark} {message.title}", MAX_HEADER)}},
            _section(_facts(message)),
            {"type": "context", "elements": [{"type": "mrkdwn", "text": _cut(origin, MAX_SECTION)}]},
        ],
    }


def escape(text: str) -> str:
    """Escape Slack's three control characters, so that a name can't become a link or a mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _facts(message: Message) -> str:
    return _cut(escape("\n".join(message.lines) or message.title), MAX_SECTION)


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _cut(text: str, length: int) -> str:
    """Cut to `length` characters without leaving half an escape at the end."""
    return text if len(text) <= length else _BROKEN_ESCAPE.sub("", text[: length - 1]) + "…"
