"""Gotify: push notifications from a server of your own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from agents.reporting.formatting import plain
from alerts.channels import http
from alerts.channels.base import ChannelError, ConfigError, Message
from alerts.channels.texts import cut

KIND: Final = "gotify"
LABEL: Final = "Gotify"
SENDS_ACKNOWLEDGEMENTS: Final = False

# Gotify has no limit; Android shows no more.
MAX_TITLE: Final = 250
MAX_MESSAGE: Final = 4000
# From 8 on, the app rings and stays on the screen; from 4 on, it makes a sound; below, it is silent.
PRIORITIES: Final = {"critical": 8, "warning": 5, "ok": 2}
TOKEN: Final = re.compile(r"[!-~]{1,200}")


class Config(msgspec.Struct, frozen=True):
    url: Annotated[str, msgspec.Meta(title="Server", description="https://gotify.example.com")]
    token: Annotated[
        str, msgspec.Meta(title="Application token", description="From Gotify: Apps, Create application.")
    ] = ""


def parse(data: Mapping[str, Any]) -> Config:
    """`{"url": "https://gotify.example.com", "token": "A4f…"}`"""
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as error:
        field = "token" if "$.token" in str(error) else "url"
        raise ConfigError(field, "Enter the server's URL and an application token as text.") from None
    parts = http.check_url(config.url)
    if parts.query or parts.fragment:
        raise ConfigError("url", "Enter the server's URL without ? and #.")
    if not TOKEN.fullmatch(config.token):
        raise ConfigError("token", "Enter an application token: plain ASCII without spaces.")
    return config


def generate() -> dict[str, str]:
    return {}


def public(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"url": data.get("url", ""), "token": f"…{str(data.get('token', ''))[-4:]}"}


def send(config: Config, message: Message) -> None:
    headers = {"Content-Type": "application/json", "X-Gotify-Key": config.token}
    reply = http.post(f"{config.url.rstrip('/')}/message", msgspec.json.encode(compose(message)), headers)
    if reply.is_success:
        return
    if reply.status in (401, 403):
        raise ChannelError(f"Gotify answered {reply.status}: the application token is no longer valid.", permanent=True)
    if reply.status == 404:
        raise ChannelError("The receiver answered 404: there is no Gotify server at this URL.", permanent=True)
    if reply.status == 410:
        raise ChannelError("The server answered 410 (Gone): it wants no more messages.", permanent=True, disable=True)
    raise ChannelError(http.describe(reply), permanent=reply.status in (400, 413), retry_after=reply.retry_after)


def compose(message: Message) -> dict[str, Any]:
    """The notification as plain text, so that a name can't become a link; a tap opens the incident."""
    lines = [
        *message.lines,
        *(f"{label}: {text}" for label, text in message.facts),
        f"{message.team} / {message.project}",
    ]
    return {
        "title": cut(message.title, MAX_TITLE),
        "message": cut(plain("\n".join(lines)), MAX_MESSAGE),
        "priority": PRIORITIES.get(message.severity, 5),
        "extras": {
            "client::display": {"contentType": "text/plain"},
            "client::notification": {"click": {"url": message.url}},
        },
    }
