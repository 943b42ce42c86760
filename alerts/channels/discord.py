"""Discord, through a webhook of a text channel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from alerts.channels import http, incoming_webhook
from alerts.channels.base import ChannelError, Message
from alerts.channels.texts import cut_markdown

KIND: Final = "discord"
LABEL: Final = "Discord"
SENDS_ACKNOWLEDGEMENTS: Final = False

# Discord rejects longer texts, and more than 6,000 characters in all.
MAX_TITLE: Final = 256
MAX_DESCRIPTION: Final = 4096
MAX_FIELDS: Final = 8
MAX_FIELD_NAME: Final = 256
MAX_FIELD: Final = 1024
MAX_FOOTER: Final = 200
MAX_TOTAL: Final = 6000
COLORS: Final = {"critical": 0xC0362C, "warning": 0xB45309, "ok": 0x15803D}
# Everything that Markdown may read as a mark, except for the backticks around code.
_MARKS: Final = re.compile(r"([\\*_~|>#\[\]()<@:-])")
_CODE: Final = re.compile(r"(`[^`\n]+`)")

generate: Final = incoming_webhook.generate
public: Final = incoming_webhook.public


class Config(msgspec.Struct, frozen=True):
    url: Annotated[
        str,
        msgspec.Meta(
            title="Webhook URL",
            description="From Discord: Edit channel, Integrations, Webhooks. https://discord.com/api/webhooks/…",
        ),
    ]


def parse(data: Mapping[str, Any]) -> Config:
    """`{"url": "https://discord.com/api/webhooks/…"}`; `?thread_id=…` posts to a thread."""
    return incoming_webhook.parse(data, Config)


def send(config: Config, message: Message) -> None:
    reply = incoming_webhook.post(config, compose(message))
    if 200 <= reply.status < 300:
        return
    if reply.status in (404, 410):
        raise ChannelError(
            f"Discord answered {reply.status}: this webhook no longer exists.", permanent=True, disable=True
        )
    # Discord names the seconds with decimals in the body, and rounded in the header.
    wait = http.json_of(reply).get("retry_after", reply.retry_after)
    raise ChannelError(
        http.describe(reply),
        permanent=reply.status in (400, 401, 403),
        retry_after=float(wait) if isinstance(wait, int | float) else reply.retry_after,
    )


def compose(message: Message) -> dict[str, Any]:
    """One embed: the problem, the facts, the evidence and a link. Nobody is mentioned."""
    embed = {
        "title": cut_markdown(message.title, MAX_TITLE),
        "url": message.url,
        "color": COLORS.get(message.severity, 0),
        "description": cut_markdown("\n".join(map(escape, message.lines)), MAX_DESCRIPTION),
        "timestamp": message.at.isoformat(),
        "footer": {"text": cut_markdown(f"{message.team} / {message.project}", MAX_FOOTER)},
    }
    room = MAX_TOTAL - len(str(embed["title"])) - len(str(embed["description"])) - MAX_FOOTER
    return {"embeds": [{**embed, "fields": _fields(message, room)}], "allowed_mentions": {"parse": []}}


def _fields(message: Message, room: int) -> list[dict[str, str]]:
    """The evidence, as far as there is room."""
    fields: list[dict[str, str]] = []
    for label, text in message.facts[:MAX_FIELDS]:
        value = _block(text) if "\n" in text else cut_markdown(escape(text), MAX_FIELD)
        name = cut_markdown(label, MAX_FIELD_NAME)
        room -= len(name) + len(value)
        if room < 0:
            break
        fields.append({"name": name, "value": value or "-"})
    return fields


def _block(text: str) -> str:
    """Several lines as code, which no backtick in them may end."""
    return f"```\n{cut_markdown(text.replace('`', chr(39)), MAX_FIELD - 8)}\n```"


def escape(text: str) -> str:
    """Text as Markdown that shows it as it is, so that a name can't become a link; code in backticks stays code."""
    parts = _CODE.split(text)
    return "".join(part if position % 2 else _MARKS.sub(r"\\\1", part) for position, part in enumerate(parts))
