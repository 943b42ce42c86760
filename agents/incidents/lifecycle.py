"""Opens, extends and ends incidents as the review finds. Each change writes its event, and who must be told, in one
transaction. What people do with an incident is in `actions.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from django.conf import settings
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils.module_loading import import_string

from agents.domain import budgets
from agents.domain.durations import spoken
from agents.models import Agent, AgentState, Command, Incident, IncidentEvent, Severity, Signal
from agents.rules import cost
from agents.rules.facts import Finding
from teams.actors import WATCHDOG
from teams.services import audit

# An incident that comes back within this time of its recovery is the same one: up and down again pages nobody twice.
FLAP: Final = timedelta(minutes=5)
# A runner's own restart is granted while the error it tells of is still to be looked at.
ADOPTED_WITHIN: Final = timedelta(minutes=2)
# A budget that was raised is exceeded no more, though nearly used up it may be; exceeded again, it is told again.
EASED_BY_A_PERSON: Final = frozenset({cost.KIND})


def open_signals(agent_ids: Iterable[int]) -> dict[int, list[Signal]]:
    """The signals that stand, by agent."""
    result: dict[int, list[Signal]] = {}
    for signal in Signal.objects.filter(agent_id__in=agent_ids, cleared_at__isnull=True).select_related("incident"):
        result.setdefault(signal.agent_id, []).append(signal)
    return result


def conclude(
    *, agent: Agent, state: AgentState, findings: Sequence[Finding], standing: Sequence[Signal], now: datetime
) -> list[Signal]:
    """Bring an agent's signals in line with what was found: open, extend, clear. Returns those that stand now."""
    found = {finding.kind: finding for finding in findings}
    before = {signal.kind: signal for signal in standing}
    kept = [_extend(signal, found[signal.kind], state, now) for signal in standing if signal.kind in found]
    fresh = [finding for finding in findings if finding.kind not in before]
    incident = standing[0].incident if standing else None
    for finding in fresh:
        signal = _raise(agent, state, incident, finding, now)
        incident = signal.incident
        kept.append(signal)
    _clear([signal for signal in standing if signal.kind not in found], state, now)
    return kept


def _raise(agent: Agent, state: AgentState, incident: Incident | None, finding: Finding, now: datetime) -> Signal:
    """A new signal: in the incident that stands, in one that just ended, or in a new one."""
    incident = incident or _held().filter(agent=agent).first()
    if incident is not None:
        signal = _add_signal(incident, agent, finding, now)
        _extend_incident(incident, signal, state, now)
        return signal
    incident = _reopened(agent, finding, state, now)
    if incident is None:
        incident = _opened(agent, finding, state, now)
        record(incident=incident, kind=IncidentEvent.Kind.OPENED, text=finding.reason, now=now)
    _adopt_restarts(incident, now)
    return _add_signal(incident, agent, finding, now)


def _opened(agent: Agent, finding: Finding, state: AgentState, now: datetime) -> Incident:
    incident = Incident(
        project_id=agent.project_id,
        agent=agent,
        kind=finding.kind,
        severity=finding.severity,
        reason=finding.reason[:500],
        started_at=finding.started_at,
        opened_at=now,
    )
    incident.begin_spend(state)
    incident.save()
    return incident


def _adopt_restarts(incident: Incident, now: datetime) -> None:
    """A runner that sees its target down may restart it before anybody here has looked: that is part of it."""
    recent = Command.objects.filter(agent=incident.agent_id, incident=None, created_at__gt=now - ADOPTED_WITHIN)
    for command in recent.filter(origin=Command.Origin.RUNNER, leased_at__isnull=False).order_by("pk"):
        Command.objects.filter(pk=command.pk).update(incident=incident)
        count_restart(incident, command.leased_at or now)
        text = f"restart of {command.target} by the runner itself"
        facts = {"command": command.pk, "state": command.state, "reason": command.reason}
        by = command.requested_by
        record(incident=incident, kind=IncidentEvent.Kind.COMMAND, text=text, actor=by, data=facts, now=now)


def count_restart(incident: Incident | None, at: datetime) -> None:
    """A restart for this incident was handed to a runner."""
    if incident is not None:
        Incident.objects.filter(pk=incident.pk).update(restarts=F("restarts") + 1, restarted_at=at, recovered_in=None)


def discount_restart(incident: Incident | None, *, taken_back: bool = False) -> None:
    """The last one did not restart anything, so nothing has to prove that it worked; taken back, it does not count."""
    if incident is not None:
        less = 1 if taken_back else 0
        Incident.objects.filter(pk=incident.pk).update(restarts=F("restarts") - less, restarted_at=None)


def _reopened(agent: Agent, finding: Finding, state: AgentState, now: datetime) -> Incident | None:
    last = Incident.objects.filter(agent=agent, kind=finding.kind, resolved_at__gt=now - FLAP).first()
    if last is None or last.resolved_by != WATCHDOG:
        return None
    last.resolved_at, last.resolved_by = None, ""
    last.acknowledged_at, last.acknowledged_by, last.recovered_in = None, "", None
    last.reopened += 1
    last.reason, last.severity = finding.reason[:500], finding.severity
    last.count_spend(state)
    last.save()
    record(incident=last, kind=IncidentEvent.Kind.REOPENED, text=f"Again: {finding.reason}", now=now)
    return last


def _add_signal(incident: Incident, agent: Agent, finding: Finding, now: datetime) -> Signal:
    return Signal.objects.create(
        incident=incident,
        agent=agent,
        kind=finding.kind,
        severity=finding.severity,
        reason=finding.reason[:500],
        evidence=finding.evidence,
        started_at=finding.started_at,
        opened_at=now,
    )


def _extend_incident(
    incident: Incident, signal: Signal, state: AgentState, now: datetime, *, rose: bool = False
) -> None:
    if signal.severity == Severity.CRITICAL:
        incident.severity = Severity.CRITICAL
    incident.count_spend(state)
    incident.save(update_fields=["severity", *Incident.SPEND])
    data = {"signal": signal.kind, "rose": rose}
    record(incident=incident, kind=IncidentEvent.Kind.UPDATED, text=signal.reason, data=data, now=now)


def _extend(signal: Signal, finding: Finding, state: AgentState, now: datetime) -> Signal:
    """Keep a standing signal's words and evidence up to date, and those of its incident; only a rise is told."""
    rose = signal.severity != finding.severity and finding.severity == Severity.CRITICAL
    eased = signal.severity != finding.severity and not rose and signal.kind in EASED_BY_A_PERSON
    if not (rose or eased) and (signal.reason, signal.evidence) == (finding.reason[:500], finding.evidence):
        return signal
    signal.severity = finding.severity if rose or eased else signal.severity
    signal.reason, signal.evidence = finding.reason[:500], finding.evidence
    signal.save(update_fields=["severity", "reason", "evidence"])
    same = Incident.objects.filter(pk=signal.incident_id, agent=signal.agent_id, kind=signal.kind, together=False)
    same.update(reason=signal.reason)
    if rose and not _is_known(signal.incident):
        _extend_incident(signal.incident, signal, state, now, rose=True)
    return signal


def _is_known(incident: Incident) -> bool:
    """Whether many share it and one of them told before that it is as bad as that."""
    worse = Incident.objects.filter(pk=incident.pk).exclude(severity=Severity.CRITICAL)
    return incident.together and not worse.update(severity=Severity.CRITICAL)


def _clear(signals: Sequence[Signal], state: AgentState, now: datetime) -> None:
    for signal in signals:
        signal.cleared_at = now
        signal.save(update_fields=["cleared_at"])
    for incident in _held().filter(pk__in={signal.incident_id for signal in signals}).order_by("pk"):
        if not incident.signals.filter(cleared_at__isnull=True).exists():
            incident.recovered_in = _recovered_in(state, incident)
            close(incident, state, WATCHDOG, _recovery(state, incident, now), now)
            _note_proof(incident)


def _recovered_in(state: AgentState, incident: Incident) -> float | None:
    """Seconds from the last restart to the progress that proved it; None where no restart was what helped."""
    proof = state.last_progress_at or state.last_beat_at
    ended = state.reported == "shutdown" or state.agent.paused_at is not None
    if incident.restarted_at is None or incident.together or ended or proof is None:
        return None
    seconds = (proof - incident.restarted_at).total_seconds()
    return seconds if seconds > 0 else None


def _note_proof(incident: Incident) -> None:
    if incident.recovered_in is not None:
        data = {"incident": incident.pk, "restarts": incident.restarts, "seconds": round(incident.recovered_in, 3)}
        team, name = incident.project.team, incident.agent.name
        audit(team=team, actor=WATCHDOG, action="restart.proven", target=name, of=incident, data=data)


def _held() -> QuerySet[Incident]:
    """The open ones, kept from other reviews: of two that clear its last two signals at once, one must see it."""
    return Incident.objects.open().select_for_update(no_key=True)


def _recovery(state: AgentState, incident: Incident, now: datetime) -> str:
    lasted = spoken((now - incident.started_at).total_seconds())
    if state.agent.paused_at:
        return f"Paused after {lasted}"
    if state.reported == "shutdown":
        return f"Stopped after {lasted}"
    return f"Recovered after {lasted}{_thanks_to(incident)}"


def _thanks_to(incident: Incident) -> str:
    if incident.recovered_in is None:
        return ""
    which = f"restart {incident.restarts}" if incident.restarts > 1 else "its restart"
    return f", {spoken(incident.recovered_in)} after {which}"


def close(incident: Incident, state: AgentState | None, by: str, text: str, now: datetime) -> None:
    """It is over, as `text` says. `state` is its agent's hot row, for what was spent during it, if it is at hand."""
    if state is not None:
        incident.count_spend(state)
    incident.resolved_at, incident.resolved_by = now, by
    incident.save(update_fields=["resolved_at", "resolved_by", "recovered_in", *Incident.SPEND])
    tried = {"restarts": incident.restarts, "restart_to_recovery": incident.recovered_in} if incident.restarts else {}
    record(incident=incident, kind=IncidentEvent.Kind.RESOLVED, text=text, actor=by, data=tried, now=now)


def open_together(
    *, members: Sequence[tuple[Agent, AgentState, Finding]], agent_ids: Iterable[int], title: str, now: datetime
) -> list[Signal]:
    """One incident for agents that fell silent together; returns the signals of `members`, who do so just now.

    `agent_ids` are all of the group. When one of them has an incident of its own silence already, the others join
    that; else the first member lends its name to a new one, which is told once.
    """
    silences = _held().filter(agent__in=agent_ids, kind=members[0][2].kind)
    incident = silences.order_by("pk").first()
    kind = _told_as(incident)
    incident = incident or _opened_together(members, title, now)
    signals = [_add_signal(incident, agent, finding, now) for agent, _, finding in members]
    incident.together = True
    incident.save(update_fields=["together"])
    record(incident=incident, kind=kind, text=title, now=now)
    return signals


def open_for_project(
    *, members: Sequence[tuple[Agent, AgentState, Finding]], project_id: int, title: str, now: datetime
) -> list[Signal]:
    """One incident for all agents that their project's budget holds; returns the signals of `members`.

    They join the incident in which an agent of the project has said so already. Call it with the project's row locked.
    """
    said = Signal.objects.filter(
        incident=OuterRef("pk"), kind=cost.KIND, evidence__budget=budgets.MONTH, cleared_at__isnull=True
    )
    incident = _held().filter(Exists(said), project=project_id, kind=cost.KIND).order_by("pk").first()
    if incident is None:
        incident = _opened_together(members, title, now)
        record(incident=incident, kind=IncidentEvent.Kind.OPENED, text=title, now=now)
    incident.together = True
    incident.save(update_fields=["together"])
    return [_add_signal(incident, agent, finding, now) for agent, _, finding in members]


def _told_as(incident: Incident | None) -> str:
    """That one agent's silence is a whole host's is worth a message; who joins after that is not."""
    if incident is None:
        return IncidentEvent.Kind.OPENED
    return IncidentEvent.Kind.NOTE if incident.together else IncidentEvent.Kind.UPDATED


def _opened_together(members: Sequence[tuple[Agent, AgentState, Finding]], title: str, now: datetime) -> Incident:
    agent, state, finding = members[0]
    started = min(one.started_at for _, _, one in members)
    return _opened(agent, Finding(finding.kind, finding.severity, title, started, {}), state, now)


def record(
    *,
    incident: Incident,
    kind: str,
    text: str,
    now: datetime,
    actor: str = WATCHDOG,
    data: dict[str, Any] | None = None,
) -> IncidentEvent:
    """Write a line of the timeline and, in the same transaction, what tells it (`INCIDENT_EVENT_SINKS`)."""
    event = IncidentEvent.objects.create(
        incident=incident, kind=kind, at=now, actor=actor, text=text[:500], data=data or {}
    )
    for sink in _sinks():
        sink(event)
    return event


def note_once(*, incident: Incident, code: str, text: str, now: datetime) -> None:
    """A line of the timeline that nobody is told of, unless one with this code is there already."""
    notes = IncidentEvent.objects.filter(incident=incident, kind=IncidentEvent.Kind.NOTE)
    if not notes.filter(data__code=code).exists():
        record(incident=incident, kind=IncidentEvent.Kind.NOTE, text=text, data={"code": code}, now=now)


@cache
def _sinks() -> list[Callable[[IncidentEvent], None]]:
    return [import_string(name) for name in settings.INCIDENT_EVENT_SINKS]
