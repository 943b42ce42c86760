"""Opsgenie, through its Alert API: one alert per incident, acknowledged and closed with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from agents.reporting.formatting import plain
from alerts.channels import http
from alerts.channels.base import ChannelError, ConfigError, Message
from alerts.channels.texts import cut

KIND: Final = "opsgenie"
LABEL: Final = "Opsgenie"
SENDS_ACKNOWLEDGEMENTS: Final = True

REGIONS: Final = {"us": "https://api.opsgenie.com", "eu": "https://api.eu.opsgenie.com"}
ACTIONS: Final = {"incident.acknowledged": "acknowledge", "incident.resolved": "close"}
PRIORITIES: Final = {"critical": "P1", "warning": "P3", "ok": "P5"}
KEY: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# Characters. Opsgenie rejects longer values, and details of more than 8,000 in all.
MAX_MESSAGE: Final = 130
MAX_ALIAS: Final = 512
MAX_DESCRIPTION: Final = 15_000
MAX_ENTITY: Final = 512
MAX_FACTS: Final = 15
MAX_LABEL: Final = 100
MAX_DETAIL: Final = 400
SOURCE: Final = "ClevAgent Watchdog"


class Config(msgspec.Struct, frozen=True):
    key: Annotated[
        str, msgspec.Meta(title="API key", description="Of an API integration of your team, not of your account.")
    ]
    region: Annotated[str, msgspec.Meta(title="Region", description="us or eu. Empty: us.")] = "us"


def parse(data: Mapping[str, Any]) -> Config:
    """`{"key": "eb243592-faa2-4ba2-a551-1afdf565c889", "region": "us"}`; the region is optional."""
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as error:
        raise ConfigError("region" if "$.region" in str(error) else "key", "Enter the API key.") from None
    if not KEY.fullmatch(config.key):
        raise ConfigError("key", "An API key looks like eb243592-faa2-4ba2-a551-1afdf565c889.")
    if config.region not in REGIONS:
        raise ConfigError("region", "The region is us or eu.")
    return config


def generate() -> dict[str, str]:
    return {}


def public(data: Mapping[str, Any]) -> dict[str, Any]:
    """Anyone who has the key can page people, so only its end is shown."""
    return {"key": f"…{str(data.get('key', ''))[-4:]}", "region": data.get("region", "us")}


def send(config: Config, message: Message) -> None:
    """Create the alert, acknowledge it or close it. A test closes it at once, so that it stays open for nobody."""
    action = ACTIONS.get(message.type, "")
    _post(config, _path(message, action), _change(message) if action else compose(message))
    if message.type == "channel.test":
        _post(config, _path(message, "close"), _change(message))


def alias(message: Message) -> str:
    """The same for all messages of an incident, so they stay one alert. Unique among servers."""
    return f"{urlsplit(message.url).hostname or 'localhost'}:{message.thread}"[-MAX_ALIAS:]


def _path(message: Message, action: str) -> str:
    return f"/v2/alerts/{quote(alias(message), safe='')}/{action}?identifierType=alias" if action else "/v2/alerts"


def _change(message: Message) -> dict[str, Any]:
    return {"source": SOURCE, "note": cut(plain(message.title), MAX_DESCRIPTION)}


def _post(config: Config, path: str, body: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json", "Authorization": f"GenieKey {config.key}"}
    reply = http.post(f"{REGIONS[config.region]}{path}", msgspec.json.encode(body), headers)
    if reply.is_success:
        return
    if reply.status in (401, 403):
        raise ChannelError(
            f"Opsgenie answered {reply.status}: the API key is not valid, may not create alerts, "
            "or belongs to the other region.",
            permanent=True,
        )
    if reply.status == 410:
        raise ChannelError("Opsgenie answered 410: it no longer takes alerts.", permanent=True, disable=True)
    raise ChannelError(
        http.describe(reply), permanent=reply.status in (400, 402, 404, 405, 413, 422), retry_after=_wait(reply)
    )


def _wait(reply: http.Reply) -> float | None:
    """Opsgenie names the length of the period in which there were too many requests."""
    told = reply.headers.get("x-ratelimit-period-in-sec", "")
    return float(told) if told.isascii() and told.isdecimal() and len(told) < 10 else reply.retry_after


def compose(message: Message) -> dict[str, Any]:
    """The alert. Opsgenie counts one that is still open, and adds only the note to it."""
    lines = [*message.lines, message.url]
    return {
        **_change(message),
        "message": cut(" ".join(plain(message.title).split()), MAX_MESSAGE),
        "alias": alias(message),
        "description": cut("\n".join(map(plain, lines)), MAX_DESCRIPTION),
        "priority": PRIORITIES.get(message.severity, "P3"),
        "entity": cut(f"{message.team} / {message.project}", MAX_ENTITY),
        "details": {
            **{cut(label, MAX_LABEL): cut(plain(text), MAX_DETAIL) for label, text in message.facts[:MAX_FACTS]},
            "Incident": message.url,
        },
    }
