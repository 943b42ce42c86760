"""The message about an incident event: what is wrong with which agent, since when, why, the cost, what was tried."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agents.domain import budgets, signal_kinds
from agents.models import Agent, Command, Incident, IncidentEvent, Severity, Signal
from agents.reporting import formatting, last_words
from agents.reporting.payloads import agent_ref, dollars, incident_dict, incident_url
from agents.reporting.recent import Activity
from agents.rules import cost, token_spike
from agents.rules.observers import version
from alerts import links, routing
from alerts.channels.base import Message
from alerts.models import Channel, Delivery, Policy
from teams.links import absolute
from teams.models import Project

MAX_TRACEBACK_LINES: Final = 12
MAX_SIGNALS: Final = 10
MAX_LAST_WORDS: Final = 300
_TYPES: Final[dict[str, str]] = {
    IncidentEvent.Kind.OPENED: "incident.opened",
    IncidentEvent.Kind.REOPENED: "incident.opened",
    IncidentEvent.Kind.UPDATED: "incident.updated",
    IncidentEvent.Kind.REMINDER: "incident.reminder",
    IncidentEvent.Kind.ESCALATED: "incident.escalated",
    IncidentEvent.Kind.ACKNOWLEDGED: "incident.acknowledged",
    IncidentEvent.Kind.RESOLVED: "incident.resolved",
}
# Events whose text says more than the incident's reason.
_EXPLAINED: Final = (IncidentEvent.Kind.UPDATED, IncidentEvent.Kind.REMINDER, IncidentEvent.Kind.ESCALATED)


class Known(NamedTuple):
    """An incident as it is now, what its agent did last if that explains why it no longer works, and the recipients
    who may act on it, with their ids."""

    incident: Incident
    activity: Activity | None
    operators: Mapping[str, int]


def incidents_of(deliveries: Iterable[Delivery]) -> dict[int, Known]:
    """What messages of a channel read: five queries for all incidents, one or two per agent that no longer works."""
    about = [(delivery, delivery.event.incident_id) for delivery in deliveries if delivery.event]
    if not about:
        return {}
    incidents = Incident.objects.select_related("project__team", "agent__state", "agent__memory")
    found = incidents.prefetch_related("signals__agent", "events", "commands").in_bulk({pk for _, pk in about})
    recipients = {delivery.recipient for delivery, _ in about} - {""}
    operators = links.operators(about[0][0].channel.project.team_id, recipients) if recipients else {}
    return {pk: Known(incident, _activity(incident), operators) for pk, incident in found.items()}


def _activity(incident: Incident) -> Activity | None:
    """The last activity of an agent that alone stopped working."""
    if incident.together or incident.resolved_at or not signal_kinds.traits(incident.kind).stops_work:
        return None
    return last_words.activity(incident, incident.signals.all(), incident.opened_at)


def of_delivery(delivery: Delivery, known: Mapping[int, Known]) -> Message:
    """The message of a delivery; one without an event is a test."""
    if delivery.event is None:
        return _test(delivery.channel, delivery)
    incident, activity, operators = known[delivery.event.incident_id]
    message = of_event(delivery.event, incident, delivery.message_id, activity)
    return _personal(message, delivery, operators.get(delivery.recipient)) if delivery.recipient else message


def _personal(message: Message, delivery: Delivery, person_id: int | None) -> Message:
    """The message with its recipient's own links."""
    act_url = ""
    if person_id is not None and delivery.event is not None and delivery.event.kind != IncidentEvent.Kind.RESOLVED:
        act_url = links.act_url(person_id, delivery.event.incident_id)
    return replace(
        message,
        recipient=delivery.recipient,
        act_url=act_url,
        leave_url=links.leave_url(delivery.channel_id, delivery.recipient),
    )


def of_event(event: IncidentEvent, incident: Incident, message_id: str, activity: Activity | None = None) -> Message:
    """The message about an incident event."""
    is_resolved = event.kind == IncidentEvent.Kind.RESOLVED
    return Message(
        id=message_id,
        type=_TYPES[event.kind],
        at=event.at,
        title=_title(event, incident),
        lines=tuple(_clean(line) for line in _lines(event, incident)),
        severity="ok" if is_resolved else incident.severity,
        url=incident_url(incident.pk),
        team=incident.project.team.name,
        project=incident.project.name,
        payload={"incident": incident_dict(incident), "agent": _agent(incident.agent), **_owners(incident.project)},
        thread=f"incident-{incident.pk}",
        facts=() if is_resolved else (*_facts(incident), *_last_words(incident, activity)),
    )


def _test(channel: Channel, delivery: Delivery) -> Message:
    return Message(
        id=delivery.message_id,
        type="channel.test",
        at=delivery.created_at,
        title=_clean(f"Test alert for {channel.name}"),
        lines=(_clean(f"This is a test. {reach_of(channel)}"),),
        severity="ok",
        url=absolute("admin:index"),
        team=channel.project.team.name,
        project=channel.project.name,
        payload={"incident": None, "agent": None, **_owners(channel.project)},
        thread=f"channel-{channel.pk}",
    )


def reach_of(channel: Channel) -> str:
    """What the channel is going to receive, as a sentence."""
    return routing.describe_reach(
        channel.severity,
        channel.labels,
        is_enabled=channel.enabled,
        has_policy=Policy.objects.filter(project=channel.project_id).exists(),
    )


def _agent(agent: Agent) -> dict[str, Any]:
    state = getattr(agent, "state", None)
    return {**agent_ref(agent), "status": str(state.status) if state else "new"}


def _owners(project: Project) -> dict[str, str]:
    return {"project": project.name, "team": project.team.name}


def _title(event: IncidentEvent, incident: Incident) -> str:
    match event.kind:
        case IncidentEvent.Kind.RESOLVED | IncidentEvent.Kind.ACKNOWLEDGED:
            title = f"{_subject(incident)}: {event.text[:1].lower()}{event.text[1:]}"
        case IncidentEvent.Kind.REOPENED:
            title = f"{_headline(incident)} again"
        case IncidentEvent.Kind.UPDATED:
            title = _update(event, incident)
        case IncidentEvent.Kind.REMINDER | IncidentEvent.Kind.ESCALATED:
            title = f"{event.get_kind_display().capitalize()}: {_headline(incident)}"
        case _:
            title = _headline(incident)
    return _clean(formatting.plain(title))


def _headline(incident: Incident) -> str:
    """`bot is down`, `3 agents in Production fell silent together`."""
    traits = signal_kinds.traits(incident.kind)
    if traits.is_budget:
        return f"{_subject(incident)} {_budget_headline(incident, _budget_signal(incident))}"
    if incident.together and traits.shared_headline:
        return f"{_subject(incident)} {traits.shared_headline}"
    main = [signal for signal in incident.signals.all() if _is_main(signal, incident)]
    return f"{_subject(incident)} {_signal_headline(main[-1]) if main else traits.headline}"


def _signal_headline(signal: Signal) -> str:
    """An error is critical only where a runner says that the process is not running."""
    traits = signal_kinds.traits(signal.kind)
    return (traits.confirmed_headline if signal.severity == Severity.CRITICAL else "") or traits.headline


def _subject(incident: Incident) -> str:
    if signal_kinds.traits(incident.kind).is_budget and (incident.together or _budget(incident) == budgets.MONTH):
        return incident.project.name
    if not incident.together:
        return incident.agent.name
    agents = {signal.agent_id for signal in incident.signals.all()}
    return f"{len(agents)} agents in {incident.project.name}"


def _budget_headline(incident: Incident, signal: Signal | None) -> str:
    """What a budget signal says; without one, what the incident says. Another signal may have made that critical."""
    budget, severity = _budget_of(signal), signal.severity if signal else incident.severity
    if budget == cost.PACE:
        return "is spending faster than usual"
    if budget == token_spike.KIND:
        return "is using more tokens than usual"
    monthly = incident.together or budget == budgets.MONTH
    if severity == Severity.WARNING:
        return f"has used {_percent(signal)} % of its {'monthly ' if monthly else ''}budget"
    traits = signal_kinds.traits(cost.KIND)
    return traits.shared_headline if monthly else traits.headline


def _percent(signal: Signal | None) -> int:
    """How much of the budget is used; rounded down, because 100 is exceeded."""
    evidence = signal.evidence if signal else {}
    used, limit = (evidence.get(name) for name in ("spent_usd", "budget_usd"))
    if limit is None:
        used, limit = evidence.get("tokens"), evidence.get("token_limit")
    if not used or not limit:
        return round(100 * budgets.NEAR)
    # 100 * 8.2 / 10 is 81.99999999999999.
    return min(99, int(round(100 * used / limit, 6)))


def _budget(incident: Incident) -> str:
    return _budget_of(_budget_signal(incident))


def _budget_signal(incident: Incident) -> Signal | None:
    """The newest one about a budget."""
    of_budgets = [signal for signal in incident.signals.all() if signal_kinds.traits(signal.kind).is_budget]
    return of_budgets[-1] if of_budgets else None


def _budget_of(signal: Signal | None) -> str:
    """Which budget a signal is about; spikes of tokens have none and give their pattern instead."""
    return str(signal.evidence.get("budget") or signal.evidence.get("pattern") or "") if signal else ""


def _update(event: IncidentEvent, incident: Incident) -> str:
    """What an update is about: a new signal, one that became critical, or silence that turned out to be a host's."""
    signal = _signal_of(event, incident)
    if signal is None:
        return f"{_subject(incident)}: {event.text}"
    if _became_shared(event, incident) or _is_main(signal, incident):
        return _headline(incident)
    name, traits = signal.agent.name, signal_kinds.traits(signal.kind)
    if traits.added_headline:
        return f"{name} {traits.added_headline}"
    if signal.severity == Severity.CRITICAL and _budget_of(signal) == budgets.MONTH:
        return f"{incident.project.name} budget exceeded (also affects {name})"
    if event.data.get("rose"):
        return f"{name} {_budget_headline(incident, signal) if traits.is_budget else _signal_headline(signal)}"
    return f"{name}: new signal ({signal.kind_label})"


def _signal_of(event: IncidentEvent, incident: Incident) -> Signal | None:
    """The signal that an update is about; several may have joined at once."""
    known = [signal for signal in incident.signals.all() if signal.opened_at <= event.at]
    named = [signal for signal in known if signal.kind == event.data.get("signal")]
    return next(iter((named or known)[-1:]), None)


def _is_main(signal: Signal, incident: Incident) -> bool:
    """Whether the incident is named after the signal, which is no news, so that it must have become worse."""
    return (signal.kind, signal.agent_id) == (incident.kind, incident.agent_id)


def _became_shared(event: IncidentEvent, incident: Incident) -> bool:
    """Whether one agent's silence turned out to be that of a whole host."""
    return incident.together and not signal_kinds.traits(incident.kind).is_budget and "signal" not in event.data


def _lines(event: IncidentEvent, incident: Incident) -> list[str]:
    is_resolved = event.kind == IncidentEvent.Kind.RESOLVED
    lines = [f"Reason: {incident.reason}" if is_resolved else incident.reason]
    if event.kind in _EXPLAINED and event.text != incident.reason:
        lines.append(event.text)
    lines.append(_since(incident, event.at, is_resolved))
    lines += [_signal_line(signal) for signal in _open_signals(incident) if signal.reason not in lines][:MAX_SIGNALS]
    lines += _deploy(incident)
    if incident.spent or incident.spent_unpriced:
        of_agent = f" of {incident.agent.name}" if incident.together else ""
        lines.append(f"Cost{of_agent} since start: {_spent(incident)}")
    lines += [_attempt(command) for command in incident.commands.all()]
    if incident.acknowledged_by and not is_resolved:
        lines.append(f"Acknowledged by {incident.acknowledged_by}")
    return lines + ([] if incident.together else _about(incident.agent))


def _about(agent: Agent) -> list[str]:
    """What it is, whom to ask and what to do."""
    about = {"About": agent.description, "Owner": agent.owner, "Runbook": agent.runbook_url}
    return [f"{name}: {text}" for name, text in about.items() if text]


def _open_signals(incident: Incident) -> list[Signal]:
    return [signal for signal in incident.signals.all() if not signal.cleared_at]


def _signal_line(signal: Signal) -> str:
    return f"{signal.agent.name}, {signal.kind_label}: {signal.reason}"


def _attempt(command: Command) -> str:
    result = f", {command.result}" if command.result else ""
    return f"{command.get_action_display().capitalize()} of {command.target}: {command.get_state_display()}{result}"


def _facts(incident: Incident) -> Iterator[tuple[str, str]]:
    """The evidence of the signal that the incident is named for, or else of the newest one."""
    signals = _open_signals(incident)
    main = [signal for signal in signals if signal.kind == incident.kind and signal.agent_id == incident.agent_id]
    for signal in (main or signals)[-1:]:
        evidence = formatting.explained(signal.kind, signal.evidence, _zone(incident.project))
        yield from ((fact.label, _clean(fact.text)) for fact in evidence.shown)
        yield from ((fact.label, _tail(fact.text)) for fact in evidence.texts)


def _last_words(incident: Incident, activity: Activity | None) -> Iterator[tuple[str, str]]:
    """What the agent said and did last."""
    if activity and activity.message and activity.message_at:
        at = f"{activity.message_at.astimezone(_zone(incident.project)):%H:%M:%S}"
        yield "Last message", f"{_cut(_clean(activity.message))} (at {at})"
    if activity and activity.tool:
        yield "During tool call", f"`{_clean(activity.tool)}`"
    elif activity and activity.calls and not _shows_call(incident):
        call = activity.calls[0]
        failed = ", failed" if call.ok is False else ""
        yield "Last tool call", f"`{_clean(call.name)}` {_cut(_clean(call.args))}".rstrip() + failed


def _shows_call(incident: Incident) -> bool:
    """Whether the evidence has the last tool call already."""
    return any("last_call" in signal.evidence for signal in _open_signals(incident))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LAST_WORDS else f"{text[: MAX_LAST_WORDS - 1]}…"


def _tail(text: str) -> str:
    """The last lines of a traceback, where the cause is."""
    return "\n".join(_printable(line) for line in text.splitlines()[-MAX_TRACEBACK_LINES:])


def _deploy(incident: Incident) -> list[str]:
    """The version that was deployed shortly before the incident, if any."""
    memory = getattr(incident.agent, "memory", None)
    ran = version.running(memory.rules.get(version.KIND, {}), incident.started_at) if memory else None
    if ran is None or not ran.before or incident.together or incident.started_at - ran.since >= version.FRESH:
        return []
    at, before = ran.since.astimezone(_zone(incident.project)), _duration(incident.started_at - ran.since)
    return [f"Version {ran.name} deployed at {at:%H:%M}, {before} before the incident (previously {ran.before})"]


def _since(incident: Incident, now: datetime, is_resolved: bool) -> str:
    start = f"{incident.started_at.astimezone(_zone(incident.project)):%d %b %Y, %H:%M:%S %Z}"
    length = (incident.resolved_at or now) - incident.started_at
    if is_resolved:
        return f"Started {start}, lasted {_duration(length)}"
    return f"Since {start}" + (f" ({_duration(length)})" if length >= timedelta(seconds=1) else "")


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
    """`$1.23`. Tokens without a price are named: they are not free."""
    unpriced = f"{incident.spent_unpriced:,} tokens without a known price" if incident.spent_unpriced else ""
    priced = _money(incident.spent) if incident.spent else ""
    return " plus ".join(filter(None, (priced, unpriced)))


def _money(micro: int) -> str:
    usd = dollars(micro)
    return f"${usd:,.2f}" if usd >= 0.01 else f"${usd:.6f}"


def _clean(text: str) -> str:
    """One printable line, because names and reasons come from anywhere."""
    return " ".join(_printable(text).split())


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
