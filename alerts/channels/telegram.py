"""Telegram, through a bot."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Annotated, Any, Final

import msgspec

from agents.reporting.formatting import pieces
from alerts.channels import http
from alerts.channels.base import ChannelError, ConfigError, Message

KIND: Final = "telegram"
LABEL: Final = "Telegram"
SENDS_ACKNOWLEDGEMENTS: Final = False
API: Final = "https://api.telegram.org"

# Characters as shown. Telegram rejects more than 4,096 in all, with the link at the end.
MAX_TITLE: Final = 300
MAX_LINES: Final = 3000
MAX_ORIGIN: Final = 300
MARKS: Final = {"critical": "🔴", "warning": "🟠", "ok": "🟢"}
TOKEN: Final = re.compile(r"\d{1,20}:[\w-]{1,100}", re.ASCII)
CHAT: Final = re.compile(r"-?\d{1,20}|@\w{4,64}", re.ASCII)
TOPIC: Final = re.compile(r"\d{0,20}", re.ASCII)


class Config(msgspec.Struct, frozen=True):
    token: Annotated[str, msgspec.Meta(title="Bot token", description="From @BotFather: 123456:ABC…")]
    chat: Annotated[
        str,
        msgspec.Meta(
            title="Chat ID", description="A number, negative for groups, or @channel. Add the bot to the chat first."
        ),
    ]
    topic: Annotated[str, msgspec.Meta(title="Topic ID", description="For one topic of a forum group.")] = ""


def parse(data: Mapping[str, Any]) -> Config:
    """`{"token": "123456:ABC…", "chat": "-1001234567890", "topic": "7"}`; the topic is optional."""
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as error:
        field = next((name for name in ("chat", "topic") if name in str(error)), "token")
        raise ConfigError(field, "Enter the bot's token and the chat's ID as text.") from None
    if not TOKEN.fullmatch(config.token):
        raise ConfigError("token", "A bot token looks like 123456:ABC-DEF. Get one from @BotFather.")
    if not CHAT.fullmatch(config.chat):
        raise ConfigError("chat", "A chat ID is a number such as -1001234567890, or the @name of a channel.")
    if not TOPIC.fullmatch(config.topic):
        raise ConfigError("topic", "A topic ID is a number.")
    return config


def generate() -> dict[str, str]:
    return {}


def public(data: Mapping[str, Any]) -> dict[str, Any]:
    """Without the bot's token, which allows everything to it; its number tells which bot it is."""
    token = str(data.get("token", ""))
    shown = {"token": f"{token.partition(':')[0]}:…", "chat": data.get("chat", "")}
    return {**shown, "topic": data["topic"]} if data.get("topic") else shown


def send(config: Config, message: Message) -> None:
    body = msgspec.json.encode({**_target(config), **compose(message)})
    # The token is part of the path: errors name only the host.
    reply = http.post(f"{API}/bot{config.token}/sendMessage", body, {"Content-Type": "application/json"})
    answer = http.json_of(reply)
    if 200 <= reply.status < 300 and answer.get("ok") is True:
        return
    raise _error(reply, answer)


def _target(config: Config) -> dict[str, Any]:
    target: dict[str, Any] = {"chat_id": config.chat if config.chat.startswith("@") else int(config.chat)}
    return {**target, "message_thread_id": int(config.topic)} if config.topic else target


def _error(reply: http.Reply, answer: Mapping[str, Any]) -> ChannelError:
    parameters = answer.get("parameters")
    told = parameters if isinstance(parameters, dict) else {}
    if isinstance(moved := told.get("migrate_to_chat_id"), int):
        return ChannelError(f"The group has become a supergroup. Change its chat ID to {moved}.", permanent=True)
    if 200 <= reply.status < 300:
        return ChannelError("Telegram's answer was not what it sends after success.")
    known = {
        400: "the chat or topic does not exist, or the bot was not added to it",
        401: "the bot token is no longer valid",
        403: "the bot was blocked or removed from the chat",
        404: "the bot token is not valid",
    }
    if why := known.get(reply.status):
        return ChannelError(f"Telegram answered {reply.status}: {why}.", permanent=True)
    wait = told.get("retry_after")
    return ChannelError(http.describe(reply), retry_after=float(wait) if isinstance(wait, int) else reply.retry_after)


def compose(message: Message) -> dict[str, Any]:
    """The message as HTML. A recovery arrives silently."""
    origin = escape(f"{message.team} / {message.project}"[:MAX_ORIGIN])
    return {
        "text": f'{_text(message)}\n<a href="{escape(message.url)}">Open incident</a> · {origin}',
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": True},
        "disable_notification": message.severity == "ok",
    }


def _text(message: Message) -> str:
    """Title, lines and evidence, as much as there is room for."""
    mark = MARKS.get(message.severity, "")
    shown, room = [f"<b>{escape(f'{mark} {message.title}'[:MAX_TITLE])}</b>"], MAX_LINES
    for line in [*message.lines, *(f"{label}: {text}" for label, text in message.facts)]:
        # Cut before it is marked up, so that no mark stays open.
        shown.append(_marked_up(line if len(line) <= room else f"{line[:room]}…"))
        room -= len(line) + 1
        if room <= 0:
            break
    return "\n".join(shown)


def _marked_up(line: str) -> str:
    return "".join(f"<code>{escape(part)}</code>" if is_code else escape(part) for part, is_code in pieces(line))
