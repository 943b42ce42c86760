"""Google Chat, through the webhook of a space, as a card."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Annotated, Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from agents.reporting.formatting import plain
from alerts.channels import http, incoming_webhook
from alerts.channels.base import ChannelError, Message
from alerts.channels.texts import cut, one_line

KIND: Final = "googlechat"
LABEL: Final = "Google Chat"
SENDS_ACKNOWLEDGEMENTS: Final = False

# Characters. Google Chat rejects messages over 32,000 bytes; an escaped character has up to five.
MAX_TITLE: Final = 150
MAX_TEXT: Final = 2000
MAX_FACTS: Final = 8
MAX_LABEL: Final = 60
MAX_FACT: Final = 300
MARKS: Final = {"critical": "🔴", "warning": "🟠", "ok": "🟢"}
_SECONDS: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s", re.ASCII)

generate: Final = incoming_webhook.generate
public: Final = incoming_webhook.public


class Config(msgspec.Struct, frozen=True):
    url: Annotated[
        str,
        msgspec.Meta(
            title="Webhook URL",
            description="From the space: Apps & integrations, Webhooks. https://chat.googleapis.com/v1/spaces/…",
        ),
    ]


def parse(data: Mapping[str, Any]) -> Config:
    """`{"url": "https://chat.googleapis.com/v1/spaces/…/messages?key=…&token=…"}`"""
    return incoming_webhook.parse(data, Config)


def send(config: Config, message: Message) -> None:
    body = msgspec.json.encode(compose(message))
    reply = http.post(_threaded(config.url), body, {"Content-Type": "application/json; charset=UTF-8"})
    if reply.is_success:
        return
    if reply.status in (404, 410):
        raise ChannelError(
            f"Google Chat answered {reply.status}: this webhook or its space no longer exists.",
            permanent=True,
            disable=True,
        )
    if reply.status in (401, 403):
        raise ChannelError(
            f"Google Chat answered {reply.status}: the webhook’s URL is no longer valid, or webhooks are not allowed.",
            permanent=True,
        )
    raise ChannelError(http.describe(reply), permanent=reply.status in (400, 413), retry_after=_wait(reply))


def _threaded(url: str) -> str:
    """Without this option, Google Chat ignores the thread."""
    parts = urlsplit(url)
    option = urlencode({"messageReplyOption": "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"})
    return parts._replace(query=f"{parts.query}&{option}" if parts.query else option).geturl()


def _wait(reply: http.Reply) -> float | None:
    """Google names the seconds to wait in a detail of the error, such as `"retryDelay": "30s"`."""
    error = http.json_of(reply).get("error")
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else []:
        told = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(told, str) and (seconds := _SECONDS.fullmatch(told)):
            return float(seconds[1])
    return reply.retry_after


def compose(message: Message) -> dict[str, Any]:
    """One card: the problem, the facts, the evidence and a button. All messages of an incident form one thread."""
    title = cut(f"{MARKS.get(message.severity, '')} {one_line(message.title)}", MAX_TITLE)
    origin = cut(one_line(f"{message.team} / {message.project}"), MAX_TITLE)
    button = {"text": "Open incident", "onClick": {"openLink": {"url": message.url}}}
    widgets = [
        {"textParagraph": {"text": _markup("\n".join(message.lines), MAX_TEXT) or "-"}},
        *map(_widget, message.facts[:MAX_FACTS]),
        {"buttonList": {"buttons": [button]}},
    ]
    card = {"header": {"title": title, "subtitle": origin}, "sections": [{"widgets": widgets}]}
    return {
        # Shown in notifications, where no card fits.
        "fallbackText": title,
        "cardsV2": [{"cardId": message.thread[:60], "card": card}],
        "thread": {"threadKey": message.thread[:200]},
    }


def _widget(fact: tuple[str, str]) -> dict[str, Any]:
    label, text = fact
    shown = {"topLabel": cut(one_line(label), MAX_LABEL), "text": _markup(text, MAX_FACT) or "-", "wrapText": True}
    return {"decoratedText": shown}


def _markup(text: str, length: int) -> str:
    """Text as the markup of cards, which can't become a link or a mention."""
    return "<br>".join(escape(one_line(line), quote=False) for line in cut(plain(text), length).split("\n"))
