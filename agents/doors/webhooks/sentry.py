"""Sentry's webhooks of an integration: issue alerts, issues, errors and metric alerts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from agents.doors.webhooks.happenings import ALERT, CALM, CRITICAL, WARNING, Happening, link, moment, part, shown, words

COUNTED: Final = "issue alerts, issues, errors and metric alerts"
RESOURCE: Final = "sentry-hook-resource"
STAMP: Final = "sentry-hook-timestamp"
# Tags that may name an agent, the most certain first.
NAMES: Final = ("clevagent_agent", "agent", "agent.name", "agent_name", "service", "server_name")
_TONES: Final = {"fatal": CRITICAL, "critical": CRITICAL, "error": WARNING, "warning": WARNING}
_OPEN: Final = {"created", "unresolved"}
_OVER: Final = {"resolved", "ignored", "archived"}


def happenings(headers: Mapping[str, str], body: Mapping[str, Any], now: datetime) -> list[Happening]:
    reads = {"event_alert": _alert, "error": _error, "issue": _issue, "metric_alert": _metric}
    read = reads.get(headers.get(RESOURCE, ""))
    found = read(headers, body, now) if read else None
    return [found] if found else []


def _alert(headers: Mapping[str, str], body: Mapping[str, Any], now: datetime) -> Happening | None:
    """An alert rule about issues was triggered by an event."""
    data = part(body, "data")
    rule = words(data, "triggered_rule") or words(part(data, "issue_alert"), "title")
    return _event(part(data, "event"), rule, now)


def _error(headers: Mapping[str, str], body: Mapping[str, Any], now: datetime) -> Happening | None:
    return _event(part(part(body, "data"), "error"), "", now)


def _event(event: Mapping[str, Any], rule: str, now: datetime) -> Happening | None:
    key = words(event, "event_id")
    if not key:
        return None
    at = moment(event.get("datetime"), now) or moment(event.get("timestamp"), now) or now
    title = words(event, "title", "message") or "an event"
    return Happening(
        key=f"event:{key}:{rule}",
        kind=ALERT,
        tone=_TONES.get(words(event, "level"), CALM),
        text=shown(f"{rule}: {title}" if rule else title),
        version=1,
        began=at,
        ended=at,
        agents=_named(event),
        url=link(event, "web_url"),
    )


def _issue(headers: Mapping[str, str], body: Mapping[str, Any], now: datetime) -> Happening | None:
    """An issue is open from when it was created until it is resolved or archived."""
    issue, action = part(part(body, "data"), "issue"), words(body, "action")
    key = words(issue, "id")
    if not key or (action not in _OPEN and action not in _OVER):
        return None
    title = f"{words(issue, 'shortId')} {words(issue, 'title') or 'an issue'}".strip()
    stamp = _stamp(headers, now)
    return Happening(
        key=f"issue:{key}",
        kind=ALERT,
        tone=_TONES.get(words(issue, "level"), CALM),
        text=shown(title),
        version=int(stamp.timestamp()),
        began=min(moment(issue.get("firstSeen"), now) or stamp, stamp),
        ended=stamp if action in _OVER else None,
        agents=_named(issue),
        url=link(issue, "web_url", "permalink"),
    )


def _metric(headers: Mapping[str, str], body: Mapping[str, Any], now: datetime) -> Happening | None:
    data, action = part(body, "data"), words(body, "action")
    alert = part(data, "metric_alert")
    key = words(alert, "id", "identifier")
    if not key or action not in ("critical", "warning", "resolved"):
        return None
    stamp = _stamp(headers, now)
    began = min(moment(alert.get("date_started"), now) or stamp, stamp)
    ended = max(began, moment(alert.get("date_closed"), now) or stamp) if action == "resolved" else None
    return Happening(
        key=f"metric:{key}",
        kind=ALERT,
        tone=CRITICAL if action == "critical" else WARNING,
        text=shown(": ".join(filter(None, [words(data, "description_title"), words(data, "description_text")]))),
        version=int(stamp.timestamp()),
        began=began,
        ended=ended,
        agents=_projects(alert),
        url=link(data, "web_url"),
    )


def _stamp(headers: Mapping[str, str], now: datetime) -> datetime:
    """When Sentry sent it: seconds since 1970, or ISO 8601."""
    told = headers.get(STAMP, "")
    return moment(int(told) if told.isascii() and told.isdigit() and len(told) < 12 else told, now) or now


def _named(item: Mapping[str, Any]) -> tuple[str, ...]:
    """Tags first, then what else may be an agent's name."""
    tags = dict(_tags(item.get("tags")))
    named = [tags[name] for name in NAMES if tags.get(name)]
    return (*named, *_projects(item))


def _projects(item: Mapping[str, Any]) -> tuple[str, ...]:
    many, project = item.get("projects"), part(item, "project")
    found = [words(project, "slug"), words(project, "name"), *(many if isinstance(many, list) else [])]
    return tuple(dict.fromkeys(name for name in found if isinstance(name, str) and name))


def _tags(tags: Any) -> Iterator[tuple[str, str]]:
    """Pairs, or objects with `key` and `value`."""
    for tag in tags if isinstance(tags, Iterable) and not isinstance(tags, str | Mapping) else ():
        if isinstance(tag, Mapping):
            yield words(tag, "key"), words(tag, "value")
        elif isinstance(tag, list) and len(tag) == 2 and all(isinstance(each, str) for each in tag):
            yield tag[0], words({"value": tag[1]}, "value")
