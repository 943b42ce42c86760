"""Opens, extends and ends the incidents of one agent as a review finds. See `shared.py` for incidents of many agents,
and `actions.py` for what people do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from django.db.models import QuerySet

from agents.domain import signal_kinds
from agents.domain.durations import spoken
from agents.incidents import restarts
from agents.incidents.events import MAX_TEXT, record
from agents.models import Agent, AgentState, Incident, IncidentEvent, Severity, Signal
from agents.rules.facts import Finding
from teams.actors import WATCHDOG

# An incident that comes back this soon after its recovery is reopened, so a flapping agent does not page again.
FLAP_WINDOW: Final = timedelta(minutes=5)


def open_signals(agent_ids: Iterable[int]) -> dict[int, list[Signal]]:
    """The open signals of these agents, with their incidents, by agent."""
    by_agent: dict[int, list[Signal]] = {}
    for signal in Signal.objects.filter(agent_id__in=agent_ids, cleared_at__isnull=True).select_related("incident"):
        by_agent.setdefault(signal.agent_id, []).append(signal)
    return by_agent


def apply_findings(
    *, agent: Agent, state: AgentState, findings: Sequence[Finding], signals: Sequence[Signal], now: datetime
) -> list[Signal]:
    """Bring an agent's open signals in line with the findings: open, extend, clear. Returns the signals open now."""
    found = {finding.kind: finding for finding in findings}
    known = {signal.kind for signal in signals}
    still_open = [_extend(signal, found[signal.kind], state, now) for signal in signals if signal.kind in found]
    incident = signals[0].incident if signals else None
    for finding in findings:
        if finding.kind not in known:
            signal = _raise(agent, state, incident, finding, now)
            incident = signal.incident
            still_open.append(signal)
    _clear([signal for signal in signals if signal.kind not in found], state, now)
    return still_open


def _raise(agent: Agent, state: AgentState, incident: Incident | None, finding: Finding, now: datetime) -> Signal:
    """Add a new signal to the agent's open incident, to one that has just ended, or to a new one."""
    incident = incident or locked_open().filter(agent=agent).first()
    if incident is not None:
        signal = add_signal(incident, agent, finding, now)
        _announce_update(incident, signal, state, now)
        return signal
    incident = _reopened(agent, finding, state, now)
    if incident is None:
        incident = opened(agent, finding, state, now)
        record(incident=incident, kind=IncidentEvent.Kind.OPENED, text=finding.reason, now=now)
    restarts.adopt(incident, now)
    return add_signal(incident, agent, finding, now)


def opened(agent: Agent, finding: Finding, state: AgentState, now: datetime) -> Incident:
    """A new incident, without its event."""
    incident = Incident(
        project_id=agent.project_id,
        agent=agent,
        kind=finding.kind,
        severity=finding.severity,
        reason=finding.reason[:MAX_TEXT],
        started_at=finding.started_at,
        opened_at=now,
    )
    incident.begin_spend(state)
    incident.save()
    return incident


def _reopened(agent: Agent, finding: Finding, state: AgentState, now: datetime) -> Incident | None:
    last = Incident.objects.filter(agent=agent, kind=finding.kind, resolved_at__gt=now - FLAP_WINDOW).first()
    if last is None or last.resolved_by != WATCHDOG:
        return None
    last.resolved_at, last.resolved_by, last.outcome = None, "", ""
    last.acknowledged_at, last.acknowledged_by, last.recovered_in = None, "", None
    last.reopened += 1
    last.reason, last.severity = finding.reason[:MAX_TEXT], finding.severity
    last.count_spend(state)
    last.save()
    record(incident=last, kind=IncidentEvent.Kind.REOPENED, text=f"Again: {finding.reason}", now=now)
    return last


def add_signal(incident: Incident, agent: Agent, finding: Finding, now: datetime) -> Signal:
    return Signal.objects.create(
        incident=incident,
        agent=agent,
        kind=finding.kind,
        severity=finding.severity,
        reason=finding.reason[:MAX_TEXT],
        evidence=finding.evidence,
        started_at=finding.started_at,
        opened_at=now,
    )


def _announce_update(
    incident: Incident, signal: Signal, state: AgentState, now: datetime, *, rose: bool = False
) -> None:
    """Record that a signal was added or, with `rose`, became critical."""
    if signal.severity == Severity.CRITICAL:
        incident.severity = Severity.CRITICAL
    incident.count_spend(state)
    incident.save(update_fields=["severity", *Incident.SPEND])
    data = {"signal": signal.kind, "rose": rose}
    record(incident=incident, kind=IncidentEvent.Kind.UPDATED, text=signal.reason, data=data, now=now)


def _extend(signal: Signal, finding: Finding, state: AgentState, now: datetime) -> Signal:
    """Keep the reason and evidence of an open signal and its incident current. Only a rise in severity notifies."""
    severity = severity_after(signal.kind, signal.severity, finding.severity)
    reason, rose = finding.reason[:MAX_TEXT], severity != signal.severity and severity == Severity.CRITICAL
    if (signal.severity, signal.reason, signal.evidence) == (severity, reason, finding.evidence):
        return signal
    signal.severity, signal.reason, signal.evidence = severity, reason, finding.evidence
    signal.save(update_fields=["severity", "reason", "evidence"])
    named_after_it = Incident.objects.filter(pk=signal.incident_id, agent=signal.agent_id, kind=signal.kind)
    named_after_it.filter(together=False).update(reason=reason)
    if rose and not _rose_already(signal.incident):
        _announce_update(signal.incident, signal, state, now, rose=True)
    return signal


def severity_after(kind: str, before: str, found: str) -> str:
    """A signal stays critical until it is cleared, unless it is a budget: people raise budgets."""
    may_ease = signal_kinds.traits(kind).is_budget
    return found if found == Severity.CRITICAL or may_ease else before


def _rose_already(incident: Incident) -> bool:
    """Whether another agent of a shared incident has announced that it is critical."""
    lower = Incident.objects.filter(pk=incident.pk).exclude(severity=Severity.CRITICAL)
    return incident.together and not lower.update(severity=Severity.CRITICAL)


def _clear(signals: Sequence[Signal], state: AgentState, now: datetime) -> None:
    """Clear signals, and close the incidents that have no other open signal."""
    for signal in signals:
        signal.cleared_at = now
        signal.save(update_fields=["cleared_at"])
    for incident in locked_open().filter(pk__in={signal.incident_id for signal in signals}).order_by("pk"):
        if not incident.signals.filter(cleared_at__isnull=True).exists():
            incident.recovered_in = restarts.recovered_in(incident, state)
            outcome, by = _conclusion(state)
            close(incident, state, by, _conclusion_text(outcome, by, incident, now), now, outcome)
            restarts.audit_proof(incident)


def locked_open() -> QuerySet[Incident]:
    """Open incidents, locked: when two reviews clear the last two signals of one, the second must see the first."""
    return Incident.objects.open().select_for_update(no_key=True)


def _conclusion(state: AgentState) -> tuple[Incident.Outcome, str]:
    """Why nothing is wrong any more, and who is behind it: most that ends an incident is no recovery."""
    agent = state.agent
    if agent.paused_at:
        if agent.maintenance_id:
            return Incident.Outcome.MAINTENANCE, WATCHDOG
        if agent.over_plan_at == agent.paused_at:
            return Incident.Outcome.OVER_PLAN, WATCHDOG
        return Incident.Outcome.PAUSED, agent.paused_by or WATCHDOG
    return (Incident.Outcome.STOPPED if state.reported == "shutdown" else Incident.Outcome.RECOVERED), WATCHDOG


def _conclusion_text(outcome: Incident.Outcome, by: str, incident: Incident, now: datetime) -> str:
    who = "" if by == WATCHDOG else f" by {by}"
    lasted = f"after {spoken((now - incident.started_at).total_seconds())}"
    texts = {
        Incident.Outcome.STOPPED: f"Stopped {lasted}",
        Incident.Outcome.PAUSED: f"Monitoring paused{who} {lasted}",
        Incident.Outcome.MAINTENANCE: f"Maintenance started {lasted}",
        Incident.Outcome.OVER_PLAN: f"No longer monitored {lasted}: over the plan's agent limit",
    }
    return texts.get(outcome, f"Recovered {lasted}{restarts.credit(incident)}")


def close(
    incident: Incident,
    state: AgentState | None,
    by: str,
    text: str,
    now: datetime,
    outcome: Incident.Outcome = Incident.Outcome.RESOLVED,
) -> None:
    """Resolve the incident. `state` is the hot row of its agent, which knows the spend; None when it is not loaded."""
    if state is not None:
        incident.count_spend(state)
    incident.resolved_at, incident.resolved_by, incident.outcome = now, by, outcome
    incident.save(update_fields=["resolved_at", "resolved_by", "outcome", "recovered_in", *Incident.SPEND])
    data = {"restarts": incident.restarts, "restart_to_recovery": incident.recovered_in} if incident.restarts else {}
    record(incident=incident, kind=IncidentEvent.Kind.RESOLVED, text=text, actor=by, data=data, now=now)
