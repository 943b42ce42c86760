"""Pushover: push notifications to phones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec

from agents.reporting.formatting import plain
from alerts.channels import http
from alerts.channels.base import ChannelError, ConfigError, Message
from alerts.channels.texts import cut

KIND: Final = "pushover"
LABEL: Final = "Pushover"
SENDS_ACKNOWLEDGEMENTS: Final = False
API: Final = "https://api.pushover.net"

# Characters, of any number of bytes. Pushover rejects longer ones.
MAX_TITLE: Final = 250
MAX_MESSAGE: Final = 1024
MAX_URL: Final = 512
# 1 passes quiet hours, -1 makes no sound. 2 would ring until somebody confirms it, also after the recovery.
PRIORITIES: Final = {"critical": 1, "warning": 0, "ok": -1}
TOKEN: Final = re.compile(r"[A-Za-z0-9]{30}")
DEVICES: Final = re.compile(r"([A-Za-z0-9_-]{1,25}(,[A-Za-z0-9_-]{1,25})*)?")


class Config(msgspec.Struct, frozen=True):
    token: Annotated[str, msgspec.Meta(title="Application token", description="From pushover.net: Your Applications.")]
    user: Annotated[str, msgspec.Meta(title="User or group key", description="From your dashboard on pushover.net.")]
    device: Annotated[
        str, msgspec.Meta(title="Devices", description="Names, separated by commas. Empty: all devices.")
    ] = ""


def parse(data: Mapping[str, Any]) -> Config:
    """`{"token": "azGDO…", "user": "uQiRz…", "device": "phone"}`; the device is optional."""
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as error:
        field = next((name for name in ("user", "device") if name in str(error)), "token")
        raise ConfigError(field, "Enter an application token and a user key as text.") from None
    if not TOKEN.fullmatch(config.token):
        raise ConfigError("token", "An application token has 30 letters and digits.")
    if not TOKEN.fullmatch(config.user):
        raise ConfigError("user", "A user or group key has 30 letters and digits.")
    if not DEVICES.fullmatch(config.device):
        raise ConfigError("device", "Device names have up to 25 letters, digits, dashes or underscores.")
    return config


def generate() -> dict[str, str]:
    return {}


def public(data: Mapping[str, Any]) -> dict[str, Any]:
    """Anyone who has token and key can send, so only their ends are shown."""
    shown = {name: f"…{str(data.get(name, ''))[-4:]}" for name in ("token", "user")}
    return {**shown, "device": data["device"]} if data.get("device") else shown


def send(config: Config, message: Message) -> None:
    target = {"token": config.token, "user": config.user, **({"device": config.device} if config.device else {})}
    body = msgspec.json.encode({**target, **compose(message)})
    reply = http.post(f"{API}/1/messages.json", body, {"Content-Type": "application/json"})
    answer = http.json_of(reply)
    if reply.is_success and answer.get("status") == 1:
        return
    raise _error(reply, answer)


def _error(reply: http.Reply, answer: Mapping[str, Any]) -> ChannelError:
    if reply.is_success:
        return ChannelError("Pushover's answer was not what it sends after success.")
    if reply.status == 429:
        wait = _until_reset(reply, datetime.now(UTC))
        return ChannelError("Pushover answered 429: the application's monthly limit is used up.", retry_after=wait)
    # The answer names what it rejects: "token": "invalid".
    named = {"token": "application token", "user": "user or group key", "device": "device"}
    if invalid := [label for name, label in named.items() if answer.get(name) == "invalid"]:
        return ChannelError(
            f"Pushover answered {reply.status}: the {' and the '.join(invalid)} is not valid.", permanent=True
        )
    return ChannelError(
        http.describe(reply),
        permanent=reply.status in (400, 401, 403, 404, 410, 413),
        disable=reply.status == 410,
        retry_after=reply.retry_after,
    )


def _until_reset(reply: http.Reply, now: datetime) -> float | None:
    """Seconds until the limit starts anew, which Pushover names as a Unix time."""
    told = reply.headers.get("x-limit-app-reset", "")
    if told.isascii() and told.isdecimal() and len(told) < 12:
        return max(0.0, int(told) - now.timestamp())
    return reply.retry_after


def compose(message: Message) -> dict[str, Any]:
    """The notification as plain text, so that a name can't become a link."""
    lines = [
        *message.lines,
        *(f"{label}: {text}" for label, text in message.facts),
        f"{message.team} / {message.project}",
    ]
    link = {"url": message.url, "url_title": "Open incident"} if len(message.url) <= MAX_URL else {}
    return {
        "title": cut(message.title, MAX_TITLE),
        "message": cut(plain("\n".join(lines)), MAX_MESSAGE),
        "priority": PRIORITIES.get(message.severity, 0),
        "timestamp": int(message.at.timestamp()),
        **link,
    }
