"""ntfy: push notifications to phones and browsers, through ntfy.sh or a server of your own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from agents.reporting.formatting import plain
from alerts.channels import http
from alerts.channels.base import ChannelError, ConfigError, Message

KIND: Final = "ntfy"
LABEL: Final = "ntfy"
SENDS_ACKNOWLEDGEMENTS: Final = False

# In bytes: a longer message would arrive as an attachment.
MAX_MESSAGE: Final = 4096
MAX_TITLE: Final = 250
TOPIC: Final = re.compile(r"[-_A-Za-z0-9]{1,64}")
# 5 rings through "do not disturb".
PRIORITIES: Final = {"critical": 5, "warning": 4, "ok": 3}
TAGS: Final = {"critical": "rotating_light", "warning": "warning", "ok": "white_check_mark"}


class Config(msgspec.Struct, frozen=True):
    topic: Annotated[
        str,
        msgspec.Meta(title="Topic", description="Whoever knows it can read it on a public server: choose a long one."),
    ]
    url: Annotated[str, msgspec.Meta(title="Server", description="Empty: https://ntfy.sh.")] = "https://ntfy.sh"
    token: Annotated[str, msgspec.Meta(title="Access token", description="For protected topics: tk_…")] = ""


def parse(data: Mapping[str, Any]) -> Config:
    """`{"topic": "alerts-4f1c", "url": "https://ntfy.sh", "token": "tk_…"}`; server and token are optional."""
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as error:
        field = next((name for name in ("url", "token") if f"$.{name}" in str(error)), "topic")
        raise ConfigError(field, "Enter the topic, and a server and a token as text.") from None
    if not TOPIC.fullmatch(config.topic):
        raise ConfigError("topic", "A topic has 1 to 64 letters, digits, dashes or underscores.")
    if not config.token.isascii() or not config.token.isprintable() or " " in config.token:
        raise ConfigError("token", "The token must be plain ASCII without spaces.")
    http.check_url(config.url)
    return config


def generate() -> dict[str, str]:
    return {}


def public(data: Mapping[str, Any]) -> dict[str, Any]:
    """A topic is a password on a public server, so only its end is shown."""
    topic, token = str(data.get("topic", "")), str(data.get("token", ""))
    shown = {"topic": f"…{topic[-4:]}", "url": data.get("url", "https://ntfy.sh")}
    return {**shown, "token": f"…{token[-4:]}"} if token else shown


def send(config: Config, message: Message) -> None:
    headers = {"Content-Type": "application/json"}
    if config.token:
        headers["Authorization"] = f"Bearer {config.token}"
    # JSON goes to the server's root, with the topic in the body.
    reply = http.post(config.url, msgspec.json.encode({"topic": config.topic, **compose(message)}), headers)
    if 200 <= reply.status < 300:
        return
    if reply.status in (401, 403):
        raise ChannelError(f"The server answered {reply.status}: the topic needs another access token.", permanent=True)
    if reply.status == 410:
        raise ChannelError("The server answered 410 (Gone): it wants no more messages.", permanent=True, disable=True)
    raise ChannelError(http.describe(reply), permanent=reply.status in (400, 404, 413), retry_after=reply.retry_after)


def compose(message: Message) -> dict[str, Any]:
    """The notification; a tap opens the incident."""
    lines = [
        *message.lines,
        *(f"{label}: {text}" for label, text in message.facts),
        f"{message.team} / {message.project}",
    ]
    return {
        "title": message.title[:MAX_TITLE],
        "message": _cut(plain("\n".join(lines))),
        "priority": PRIORITIES.get(message.severity, 3),
        "tags": [TAGS.get(message.severity, "bell")],
        "click": message.url,
        "actions": [{"action": "view", "label": "Open incident", "url": message.url}],
    }


def _cut(text: str) -> str:
    data = text.encode()
    return text if len(data) <= MAX_MESSAGE else data[: MAX_MESSAGE - 3].decode(errors="ignore") + "…"
