"""An incident's event in words: what is wrong with which agent, since when, why, what it cost, what was tried."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.urls import reverse

from agents.domain import signal_kinds
from agents.models import Agent, Incident, IncidentEvent, Severity
from agents.reporting import formatting
from agents.reporting.payloads import agent_ref, dollars, incident_dict, incident_url
from agents.rules.observers import version
from alerts.channels.base import Message
from alerts.models import Channel, Delivery
from teams.models import Project

# Of a traceback.
MAX_LINES: Final = 12
_TYPES: Final[dict[str, str]] = {
    IncidentEvent.Kind.OPENED: "incident.opened",
    IncidentEvent.Kind.REOPENED: "incident.opened",
    IncidentEvent.Kind.UPDATED: "incident.updated",
    IncidentEvent.Kind.ACKNOWLEDGED: "incident.acknowledged",
    IncidentEvent.Kind.RESOLVED: "incident.resolved",
}


def of_delivery(delivery: Delivery) -> Message:
    """The message of a delivery, from what is known now; a delivery without an event is a test."""
    if delivery.event is None:
        return _test(delivery.channel, delivery)
    incident = (
        Incident.objects.select_related("project__team", "agent__state", "agent__memory")
        .prefetch_related("signals__agent", "events", "commands")
        .get(pk=delivery.event.incident_id)
    )
    return of_event(delivery.event, incident, delivery.message_id)


def of_event(event: IncidentEvent, incident: Incident, message_id: str) -> Message:
    """The message of an incident's event."""
    over = event.kind == IncidentEvent.Kind.RESOLVED
    return Message(
        id=message_id,
        type=_TYPES[event.kind],
        at=event.at,
        title=_title(event, incident),
        lines=tuple(_clean(line) for line in _lines(event, incident)),
        severity="ok" if over else incident.severity,
        url=incident_url(incident.pk),
        team=incident.project.team.name,
        project=incident.project.name,
        payload={"incident": incident_dict(incident), "agent": _agent(incident.agent), **_owners(incident.project)},
        thread=f"incident-{incident.pk}",
        facts=() if over else tuple(_facts(incident)),
    )


def _test(channel: Channel, delivery: Delivery) -> Message:
    return Message(
        id=delivery.message_id,
        type="channel.test",
        at=delivery.created_at,
        title=_clean(f"Test of {channel.name}"),
        lines=("This is a test. Alerts of this project will arrive here.",),
        severity="ok",
        url=settings.BASE_URL + reverse("admin:index"),
        team=channel.project.team.name,
        project=channel.project.name,
        payload={"incident": None, "agent": None, **_owners(channel.project)},
        thread=f"channel-{channel.pk}",
    )


def _agent(agent: Agent) -> dict[str, Any]:
    state = getattr(agent, "state", None)
    return {**agent_ref(agent), "status": str(state.status) if state else "new"}


def _owners(project: Project) -> dict[str, str]:
    return {"project": project.name, "team": project.team.name}


def _title(event: IncidentEvent, incident: Incident) -> str:
    name = _subject(incident)
    match event.kind:
        case IncidentEvent.Kind.RESOLVED | IncidentEvent.Kind.ACKNOWLEDGED:
            title = f"{name}: {event.text[:1].lower()}{event.text[1:]}"
        case IncidentEvent.Kind.REOPENED:
            title = f"{name} {_wrong(incident)} again"
        case IncidentEvent.Kind.UPDATED if _is_worse(event, incident) or _became_many(event, incident):
            title = f"{name} {_wrong(incident)}"
        case IncidentEvent.Kind.UPDATED:
            title = f"{name}: {_newest(event, incident)}"
        case _:
            title = f"{name} {_wrong(incident)}"
    return _clean(formatting.plain(title))


def _subject(incident: Incident) -> str:
    if not incident.together:
        return incident.agent.name
    if signal_kinds.traits(incident.kind).is_budget:
        return incident.project.name
    agents = {signal.agent_id for signal in incident.signals.all()}
    return f"{len(agents)} agents of {incident.project.name}"


def _wrong(incident: Incident) -> str:
    traits = signal_kinds.traits(incident.kind)
    if traits.warning_headline and incident.severity == Severity.WARNING:
        return traits.warning_headline
    return traits.shared_headline if incident.together and traits.shared_headline else traits.headline


def _is_worse(event: IncidentEvent, incident: Incident) -> bool:
    """Whether what the incident is about got worse, and nothing new came to it."""
    of_its_kind = (signal for signal in incident.signals.all() if signal.kind == incident.kind)
    return any(signal.opened_at < event.at and signal.reason == event.text for signal in of_its_kind)


def _became_many(event: IncidentEvent, incident: Incident) -> bool:
    """Whether it is told because one agent's silence turned out to be a whole host's."""
    is_budget = signal_kinds.traits(incident.kind).is_budget
    return incident.together and not is_budget and "signal" not in event.data


def _newest(event: IncidentEvent, incident: Incident) -> str:
    signals = [signal for signal in incident.signals.all() if signal.opened_at <= event.at]
    if not signals:
        return f"also {event.text}"
    newest = signals[-1]
    return signal_kinds.traits(newest.kind).added_headline or f"also {newest.get_kind_display()}"


def _lines(event: IncidentEvent, incident: Incident) -> list[str]:
    over = event.kind == IncidentEvent.Kind.RESOLVED
    lines = [f"It was: {incident.reason}" if over else incident.reason]
    if event.kind == IncidentEvent.Kind.UPDATED and event.text != incident.reason:
        lines.append(event.text)
    lines.append(_since(incident, event.at, over))
    lines += [
        f"{signal.agent.name}, {signal.get_kind_display()}: {signal.reason}"
        for signal in incident.signals.all()
        if not signal.cleared_at and signal.reason not in lines
    ][:10]
    lines += _deploy(incident)
    if incident.spent or incident.spent_unpriced:
        lines.append(f"Spent since it began: {_spent(incident)}")
    lines += [
        f"Tried: {command.action} of {command.target}: {_outcome(command)}" for command in incident.commands.all()
    ]
    if incident.acknowledged_by and not over:
        lines.append(f"Acknowledged by {incident.acknowledged_by}")
    return lines


def _facts(incident: Incident) -> Iterator[tuple[str, str]]:
    """What the worst of it stands on: that is what it is named for, or else what came last."""
    standing = [signal for signal in incident.signals.all() if not signal.cleared_at]
    named = [signal for signal in standing if signal.kind == incident.kind and signal.agent_id == incident.agent_id]
    for signal in (named or standing)[-1:]:
        told = formatting.explained(signal.kind, signal.evidence, _zone(incident.project))
        yield from ((fact.label, _clean(fact.text)) for fact in told.shown)
        yield from ((fact.label, _tail(fact.text)) for fact in told.texts)


def _tail(text: str) -> str:
    """The last lines of a text, where the cause stands."""
    return "\n".join(_printable(line) for line in text.splitlines()[-MAX_LINES:])


def _deploy(incident: Incident) -> list[str]:
    """A version that came shortly before it began."""
    memory = getattr(incident.agent, "memory", None)
    ran = version.running(memory.rules.get(version.KIND, {}), incident.started_at) if memory else None
    if ran is None or not ran.before or incident.together or incident.started_at - ran.since >= version.FRESH:
        return []
    since, before = ran.since.astimezone(_zone(incident.project)), _duration(incident.started_at - ran.since)
    return [f"Version {ran.name} since {since:%H:%M}, {before} before; until then {ran.before}"]


def _outcome(command: Any) -> str:
    state = command.get_state_display()
    return f"{state}, {command.result}" if command.result else state


def _since(incident: Incident, now: datetime, over: bool) -> str:
    start = f"{incident.started_at.astimezone(_zone(incident.project)):%d %b %Y, %H:%M:%S %Z}"
    length = _duration((incident.resolved_at or now) - incident.started_at)
    return f"Since {start}, for {length}" if not over else f"It began on {start} and lasted {length}"


def _zone(project: Project) -> ZoneInfo:
    try:
        return ZoneInfo(project.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def _duration(length: timedelta) -> str:
    """The two largest units, e.g. `2 h 5 min`."""
    seconds = max(0, int(length.total_seconds()))
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"


def _spent(incident: Incident) -> str:
    """`$1.23`; what is unknown is said and is not nothing."""
    unknown = f"{incident.spent_unpriced:,} tokens without a known price" if incident.spent_unpriced else ""
    known = _money(incident.spent) if incident.spent else ""
    return " and ".join(filter(None, (known, unknown)))


def _money(micro: int) -> str:
    usd = dollars(micro)
    return f"${usd:,.2f}" if usd >= 0.01 else f"${usd:.6f}"


def _clean(text: str) -> str:
    """One printable line: names and reasons come from anywhere."""
    return " ".join(_printable(text).split())


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
