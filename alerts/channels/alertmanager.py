"""Webhooks in the format of Prometheus Alertmanager, which Grafana OnCall and many others accept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec

from agents.reporting.formatting import plain
from alerts.channels import http
from alerts.channels.base import ChannelError, ConfigError, Message
from alerts.channels.texts import cut

KIND: Final = "alertmanager"
LABEL: Final = "Alertmanager webhook"
SENDS_ACKNOWLEDGEMENTS: Final = False

# Characters. The format has no limits; receivers commonly take 1 MB.
MAX_LABEL: Final = 200
MAX_TITLE: Final = 1000
MAX_TEXT: Final = 10_000
# What Alertmanager sends as the end of an alert that is still firing.
NO_END: Final = "0001-01-01T00:00:00Z"


class Config(msgspec.Struct, frozen=True):
    url: Annotated[
        str,
        msgspec.Meta(title="Webhook URL", description="From Grafana OnCall: an Alertmanager integration’s URL."),
    ]
    token: Annotated[
        str, msgspec.Meta(title="Bearer token", description="If the receiver asks for one. Empty: none.")
    ] = ""


def parse(data: Mapping[str, Any]) -> Config:
    """`{"url": "https://oncall.example.com/…/alertmanager/…/", "token": "…"}`; the token is optional."""
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as error:
        field = "token" if "$.token" in str(error) else "url"
        raise ConfigError(field, "Enter the URL of the webhook, and a token as text.") from None
    http.check_url(config.url)
    if not config.token.isascii() or not config.token.isprintable() or " " in config.token:
        raise ConfigError("token", "The token must be plain ASCII without spaces.")
    return config


def generate() -> dict[str, str]:
    return {}


def public(data: Mapping[str, Any]) -> dict[str, Any]:
    """An integration's URL contains its key, so only its host and last four characters are shown."""
    shown = {"url": http.shortened(str(data.get("url", "")))}
    return {**shown, "token": f"…{str(data['token'])[-4:]}"} if data.get("token") else shown


def send(config: Config, message: Message) -> None:
    """Send the alert. A test fires and is resolved at once, so that it stays open for nobody."""
    _post(config, compose(message, is_resolved=message.type == "incident.resolved"))
    if message.type == "channel.test":
        _post(config, compose(message, is_resolved=True))


def _post(config: Config, body: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json"}
    if config.token:
        headers["Authorization"] = f"Bearer {config.token}"
    reply = http.post(config.url, msgspec.json.encode(body), headers)
    if reply.is_success:
        return
    if reply.status in (404, 410):
        raise ChannelError(
            f"The receiver answered {reply.status}: this integration no longer exists.", permanent=True, disable=True
        )
    if reply.status in (401, 403):
        raise ChannelError(
            f"The receiver answered {reply.status}: it does not accept the URL’s key or the token.", permanent=True
        )
    raise ChannelError(
        http.describe(reply), permanent=reply.status in (400, 405, 413, 422), retry_after=reply.retry_after
    )


def compose(message: Message, *, is_resolved: bool) -> dict[str, Any]:
    """A group of one alert. Its key stays the same while the kind and the severity of the incident change."""
    server = urlsplit(message.url)
    status = "resolved" if is_resolved else "firing"
    labels, annotations = _labels(message), _annotations(message)
    return {
        "version": "4",
        "groupKey": f'{{}}:{{incident="{labels["incident"]}"}}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "clevagent-watchdog",
        "groupLabels": {"incident": labels["incident"]},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": f"{server.scheme}://{server.netloc}",
        "alerts": [
            {
                "status": status,
                "labels": labels,
                "annotations": annotations,
                "startsAt": _started_at(message),
                "endsAt": _moment(message.at) if is_resolved else NO_END,
                "generatorURL": message.url,
                "fingerprint": hashlib.sha256(labels["incident"].encode()).hexdigest()[:16],
            }
        ],
    }


def _labels(message: Message) -> dict[str, str]:
    """What identifies the alert. The server is a part of it: two of them may post to one receiver."""
    incident, agent = _object(message, "incident"), _object(message, "agent")
    server = urlsplit(message.url).hostname or "localhost"
    labels = {
        "alertname": str(incident.get("kind", "test")),
        "incident": f"{server}/{message.thread}",
        # Of the incident: a recovery has the severity of what it ends.
        "severity": str(incident.get("severity", "info" if message.severity == "ok" else message.severity)),
        "agent": str(agent.get("name", "")),
        "project": message.project,
        "team": message.team,
    }
    # As in Prometheus, an empty label is no label.
    return {name: value[:MAX_LABEL] for name, value in labels.items() if value}


def _annotations(message: Message) -> dict[str, str]:
    lines = [*message.lines, *(f"{label}: {text}" for label, text in message.facts)]
    return {
        "summary": cut(plain(message.title), MAX_TITLE),
        "description": cut(plain("\n".join(lines)), MAX_TEXT),
        "incident_url": message.url,
    }


def _object(message: Message, name: str) -> Mapping[str, Any]:
    found = message.payload.get(name)
    return found if isinstance(found, Mapping) else {}


def _started_at(message: Message) -> str:
    return str(_object(message, "incident").get("started_at") or _moment(message.at))


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
