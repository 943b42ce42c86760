"""Alertmanager's webhook, version 4: each alert with its labels. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from agents.doors.webhooks.happenings import ALERT, CALM, CRITICAL, WARNING, Happening, link, moment, part, shown, words
from teams.errors import ApiError

COUNTED: Final = "alerts"
VERSION: Final = "4"
# Labels that may name an agent, the most certain first.
NAMES: Final = ("clevagent_agent", "agent", "agent_name", "service", "app", "job", "deployment", "container", "pod")
_TONES: Final = {"critical": CRITICAL, "page": CRITICAL, "error": CRITICAL, "info": CALM, "none": CALM}


def happenings(headers: Mapping[str, str], body: Mapping[str, Any], now: datetime) -> list[Happening]:
    """Raises ApiError 422 for another version, which may mean something else by the same names."""
    version, alerts = words(body, "version"), body.get("alerts")
    if version != VERSION or not isinstance(alerts, list):
        raise ApiError(422, "invalid", 'Send Alertmanager\'s webhook of version 4: {"version": "4", "alerts": […]}.')
    return [_alert(alert, now) for alert in alerts if isinstance(alert, Mapping)]


def _alert(alert: Mapping[str, Any], now: datetime) -> Happening:
    labels, notes = part(alert, "labels"), part(alert, "annotations")
    began = moment(alert.get("startsAt"), now) or now
    is_over = words(alert, "status") == "resolved"
    # While it fires, endsAt is the year 1, or when Alertmanager would give up.
    ended = max(began, moment(alert.get("endsAt"), now) or now) if is_over else None
    name, more = words(labels, "alertname") or "alert", words(notes, "summary", "description", "message")
    return Happening(
        key=f"{_fingerprint(alert, labels)}:{words(alert, 'startsAt')}",
        kind=ALERT,
        tone=_TONES.get(words(labels, "severity").lower(), WARNING),
        text=shown(f"{name}: {more}" if more else name),
        version=int(is_over),
        began=began,
        ended=ended,
        agents=tuple(found for label in NAMES if (found := words(labels, label))),
        url=link(alert, "generatorURL"),
    )


def _fingerprint(alert: Mapping[str, Any], labels: Mapping[str, Any]) -> str:
    """Programs that speak this format may leave it out; then the labels identify the alert, as they do there."""
    return words(alert, "fingerprint") or json.dumps(labels, sort_keys=True, default=str)
