"""Matrix, through a bot's account, into a room without encryption."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec

from agents.reporting.formatting import pieces, plain
from alerts.channels import http
from alerts.channels.base import ChannelError, ConfigError, Message

KIND: Final = "matrix"
LABEL: Final = "Matrix"
SENDS_ACKNOWLEDGEMENTS: Final = False

# Characters. A room rejects events over 65,536 bytes. A text is sent twice, once escaped, with up to 12 bytes for each.
MAX_TITLE: Final = 300
MAX_LINES: Final = 3000
MAX_ORIGIN: Final = 300
MARKS: Final = {"critical": "🔴", "warning": "🟠", "ok": "🟢"}
TOKEN: Final = re.compile(r"[!-~]{1,1000}")
# Rooms of version 12 and later have no server in their ID.
ROOM: Final = re.compile(r"![A-Za-z0-9._~=+$-]{1,200}(:[A-Za-z0-9.:\[\]-]{1,200})?")


class Config(msgspec.Struct, frozen=True):
    url: Annotated[
        str, msgspec.Meta(title="Homeserver", description="Of the bot's account, such as https://matrix.org.")
    ]
    token: Annotated[
        str, msgspec.Meta(title="Access token", description="Of the bot's account: syt_… Invite it to the room first.")
    ] = ""
    room: Annotated[
        str, msgspec.Meta(title="Room ID", description="From the room's settings, Advanced: !abc:example.com.")
    ] = ""


def parse(data: Mapping[str, Any]) -> Config:
    """`{"url": "https://matrix.org", "token": "syt_…", "room": "!abc:example.com"}`"""
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as error:
        field = next((name for name in ("token", "room") if f"$.{name}" in str(error)), "url")
        raise ConfigError(field, "Enter the homeserver's URL, an access token and a room ID as text.") from None
    parts = http.check_url(config.url)
    if parts.query or parts.fragment:
        raise ConfigError("url", "Enter the homeserver's URL without ? and #.")
    if not TOKEN.fullmatch(config.token):
        raise ConfigError("token", "Enter an access token: plain ASCII without spaces.")
    if not ROOM.fullmatch(config.room):
        raise ConfigError("room", "A room ID looks like !abc:example.com. An alias (#name:example.com) is none.")
    return config


def generate() -> dict[str, str]:
    return {}


def public(data: Mapping[str, Any]) -> dict[str, Any]:
    """Without the access token, which allows everything to the bot."""
    token = str(data.get("token", ""))
    return {"url": data.get("url", ""), "token": f"…{token[-4:]}", "room": data.get("room", "")}


def send(config: Config, message: Message) -> None:
    # The message's ID makes repeated attempts one message.
    path = f"/_matrix/client/v3/rooms/{quote(config.room, safe='')}/send/m.room.message/{quote(message.id, safe='')}"
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {config.token}"}
    body = msgspec.json.encode(compose(message))
    reply = http.post(f"{config.url.rstrip('/')}{path}", body, headers, method="PUT")
    answer = http.json_of(reply)
    if reply.is_success and isinstance(answer.get("event_id"), str):
        return
    raise _error(reply, answer)


def _error(reply: http.Reply, answer: Mapping[str, Any]) -> ChannelError:
    if reply.is_success:
        return ChannelError("The homeserver's answer was not what it sends after success.")
    known = {
        401: "the access token is no longer valid",
        403: "the bot is not in the room, or may not write there",
        404: "there is no such room, or no Matrix homeserver at this URL",
        410: "it wants no more messages",
        413: "the message is too large for it",
    }
    if why := known.get(reply.status):
        return ChannelError(
            f"The homeserver answered {reply.status}: {why}.", permanent=True, disable=reply.status == 410
        )
    return ChannelError(http.describe(reply), permanent=reply.status == 400, retry_after=_wait(reply, answer))


def _wait(reply: http.Reply, answer: Mapping[str, Any]) -> float | None:
    """Homeservers before Matrix 1.10 name the milliseconds in the answer instead of the header."""
    told = answer.get("retry_after_ms")
    # True is an int, too.
    is_number = isinstance(told, int | float) and not isinstance(told, bool)
    return float(told) / 1000 if told and is_number and told > 0 else reply.retry_after


def compose(message: Message) -> dict[str, Any]:
    """The message as text and as HTML. Nobody is mentioned; a recovery is a notice, which makes no sound."""
    title, lines = f"{MARKS.get(message.severity, '')} {message.title}"[:MAX_TITLE], _lines(message)
    origin = f"{message.team} / {message.project}"[:MAX_ORIGIN]
    link = f'<a href="{escape(message.url)}">Open incident</a> · {escape(origin)}'
    html = [f"<strong>{escape(title)}</strong>", *map(_marked_up, lines), link]
    return {
        "msgtype": "m.notice" if message.severity == "ok" else "m.text",
        "body": "\n".join([title, *map(plain, lines), message.url, origin]),
        "format": "org.matrix.custom.html",
        "formatted_body": "<br>".join(html),
        "m.mentions": {},
    }


def _lines(message: Message) -> list[str]:
    """Lines and evidence, as much as there is room for."""
    shown, room = list[str](), MAX_LINES
    for line in [*message.lines, *(f"{label}: {text}" for label, text in message.facts)]:
        shown.append(line if len(line) <= room else f"{line[:room]}…")
        room -= len(line) + 1
        if room <= 0:
            break
    return shown


def _marked_up(line: str) -> str:
    shown = (f"<code>{escape(part)}</code>" if is_code else escape(part) for part, is_code in pieces(line))
    return "".join(shown).replace("\n", "<br>")
