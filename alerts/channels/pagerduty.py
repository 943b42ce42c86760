"""PagerDuty, through the Events API v2: one PagerDuty incident per incident, acknowledged and resolved with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec

from agents.reporting.formatting import plain
from alerts.channels import http
from alerts.channels.base import ChannelError, ConfigError, Message
from alerts.channels.texts import cut

KIND: Final = "pagerduty"
LABEL: Final = "PagerDuty"
SENDS_ACKNOWLEDGEMENTS: Final = True

REGIONS: Final = {"us": "https://events.pagerduty.com", "eu": "https://events.eu.pagerduty.com"}
ACTIONS: Final = {"incident.acknowledged": "acknowledge", "incident.resolved": "resolve"}
SEVERITIES: Final = {"critical": "critical", "warning": "warning", "ok": "info"}
KEY: Final = re.compile(r"[A-Za-z0-9]{32}")
# PagerDuty rejects longer values, and events over 512 kB.
MAX_SUMMARY: Final = 1024
MAX_DEDUP_KEY: Final = 255
MAX_DETAIL: Final = 4000


class Config(msgspec.Struct, frozen=True):
    key: Annotated[
        str,
        msgspec.Meta(title="Integration key", description="Of a service’s “Events API v2” integration, 32 characters."),
    ]
    region: Annotated[str, msgspec.Meta(title="Region", description="us or eu. Empty: us.")] = "us"


def parse(data: Mapping[str, Any]) -> Config:
    """`{"key": "R0123…", "region": "us"}`; the region is optional."""
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as error:
        raise ConfigError("region" if "$.region" in str(error) else "key", "Enter the integration key.") from None
    if not KEY.fullmatch(config.key):
        raise ConfigError("key", "An integration key has 32 letters and digits.")
    if config.region not in REGIONS:
        raise ConfigError("region", "The region is us or eu.")
    return config


def generate() -> dict[str, str]:
    return {}


def public(data: Mapping[str, Any]) -> dict[str, Any]:
    """Anyone who has the key can page people, so only its end is shown."""
    return {"key": f"…{str(data.get('key', ''))[-4:]}", "region": data.get("region", "us")}


def send(config: Config, message: Message) -> None:
    """Send the event. A test opens an incident and resolves it at once, so that it stays open for nobody."""
    _post(config, compose(config, message, ACTIONS.get(message.type, "trigger")))
    if message.type == "channel.test":
        _post(config, compose(config, message, "resolve"))


def _post(config: Config, event: dict[str, Any]) -> None:
    url = f"{REGIONS[config.region]}/v2/enqueue"
    reply = http.post(url, msgspec.json.encode(event), {"Content-Type": "application/json"})
    if reply.status == 202:
        return
    if reply.status == 400:
        raise ChannelError("PagerDuty answered 400: the integration key is not valid.", permanent=True)
    raise ChannelError(
        http.describe(reply), permanent=reply.status in (401, 403, 404, 413), retry_after=reply.retry_after
    )


def compose(config: Config, message: Message, action: str) -> dict[str, Any]:
    """All events of one incident carry the same key, so they stay one incident there, too."""
    server = urlsplit(message.url).hostname or "localhost"
    event = {
        "routing_key": config.key,
        "event_action": action,
        "dedup_key": f"{server}/{message.thread}"[-MAX_DEDUP_KEY:],
    }
    if action != "trigger":
        return event
    lines = "\n".join(map(plain, message.lines))
    return {
        **event,
        "client": "ClevAgent Watchdog",
        "client_url": message.url,
        "links": [{"href": message.url, "text": "Open incident"}],
        "payload": {
            "summary": cut(plain(message.title), MAX_SUMMARY),
            "source": cut(f"{message.team} / {message.project}", MAX_DEDUP_KEY),
            "severity": SEVERITIES.get(message.severity, "error"),
            "timestamp": message.at.isoformat(),
            "group": cut(message.project, MAX_DEDUP_KEY),
            "custom_details": {
                "details": cut(lines, MAX_DETAIL),
                **{label: cut(plain(text), MAX_DETAIL) for label, text in message.facts[:20]},
            },
        },
    }
