"""Opens, extends and ends the incidents of one agent as a review finds. See `shared.py` for incidents of many agents,
and `actions.py` for what people do."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from agents.domain import signal_kinds
from agents.domain.durations import spoken
from agents.incidents import restarts
from agents.incidents.events import MAX_TEXT, record
from agents.incidents.ledger import Ledger
from agents.models import Agent, AgentState, Incident, IncidentEvent, Severity, Signal
from agents.rules.facts import Finding
from agents.storage import json_rows
from teams.actors import WATCHDOG


def open_signals(agent_ids: Collection[int]) -> dict[int, list[Signal]]:
    """The open signals of these agents, with their incidents, by agent."""
    by_agent: dict[int, list[Signal]] = {}
    troubled = json_rows.having("agents_signal", agent_ids, "cleared_at IS NULL")
    if not troubled:
        return by_agent
    for signal in Signal.objects.filter(agent_id__in=troubled, cleared_at__isnull=True).select_related("incident"):
        by_agent.setdefault(signal.agent_id, []).append(signal)
    return by_agent


def apply_findings(
    ledger: Ledger, *, agent: Agent, state: AgentState, findings: Sequence[Finding], signals: Sequence[Signal]
) -> list[Signal]:
    """Bring an agent's open signals in line with the findings: open, extend, clear. Returns the signals open now."""
    found = {finding.kind: finding for finding in findings}
    known = {signal.kind for signal in signals}
    still_open = [_extend(ledger, signal, found[signal.kind], state) for signal in signals if signal.kind in found]
    incident = signals[0].incident if signals else None
    for finding in findings:
        if finding.kind not in known:
            signal = _raise(ledger, agent, state, incident, finding)
            incident = signal.incident
            still_open.append(signal)
    for signal in signals:
        if signal.kind not in found:
            ledger.clear(signal, state)
    return still_open


def _raise(ledger: Ledger, agent: Agent, state: AgentState, incident: Incident | None, finding: Finding) -> Signal:
    """Add a new signal to the agent's open incident, to one that has just ended, or to a new one."""
    incident = incident or ledger.named_after(agent.pk)
    if incident is not None:
        signal = add_signal(ledger, incident, agent, finding)
        _announce_update(ledger, incident, signal, state)
        return signal
    incident = _reopened(ledger, agent, finding, state)
    if incident is None:
        incident = opened(ledger, agent, finding, state)
        ledger.record(incident, IncidentEvent.Kind.OPENED, finding.reason)
    ledger.adopt_restarts(incident)
    return add_signal(ledger, incident, agent, finding)


def opened(ledger: Ledger, agent: Agent, finding: Finding, state: AgentState) -> Incident:
    """A new incident, without its event."""
    incident = Incident(
        project_id=agent.project_id,
        agent=agent,
        kind=finding.kind,
        severity=finding.severity,
        reason=finding.reason[:MAX_TEXT],
        started_at=finding.started_at,
        opened_at=ledger.now,
    )
    incident.begin_spend(state)
    ledger.begin(incident)
    return incident


def _reopened(ledger: Ledger, agent: Agent, finding: Finding, state: AgentState) -> Incident | None:
    last = ledger.just_ended(agent.pk, finding.kind)
    if last is None:
        return None
    last.agent = agent
    last.resolved_at, last.resolved_by, last.outcome = None, "", ""
    last.acknowledged_at, last.acknowledged_by, last.recovered_in = None, "", None
    last.reopened += 1
    last.reason, last.severity = finding.reason[:MAX_TEXT], finding.severity
    last.count_spend(state)
    ledger.begin(last)
    ledger.record(last, IncidentEvent.Kind.REOPENED, f"Again: {finding.reason}")
    return last


def add_signal(ledger: Ledger, incident: Incident, agent: Agent, finding: Finding) -> Signal:
    signal = Signal(
        incident=incident,
        agent=agent,
        kind=finding.kind,
        severity=finding.severity,
        reason=finding.reason[:MAX_TEXT],
        evidence=finding.evidence,
        started_at=finding.started_at,
        opened_at=ledger.now,
    )
    ledger.add(signal)
    return signal


def _announce_update(
    ledger: Ledger, incident: Incident, signal: Signal, state: AgentState, *, rose: bool = False
) -> None:
    """Record that a signal was added or, with `rose`, became critical."""
    if signal.severity == Severity.CRITICAL:
        incident.severity = Severity.CRITICAL
    incident.count_spend(state)
    ledger.change(incident)
    data = {"signal": signal.kind, "severity": signal.severity, "rose": rose}
    ledger.record(incident, IncidentEvent.Kind.UPDATED, signal.reason, data=data)


def _extend(ledger: Ledger, signal: Signal, finding: Finding, state: AgentState) -> Signal:
    """Keep the reason and evidence of an open signal and its incident current. Only a rise in severity notifies."""
    severity = severity_after(signal.kind, signal.severity, finding.severity)
    reason, rose = finding.reason[:MAX_TEXT], severity != signal.severity and severity == Severity.CRITICAL
    if (signal.severity, signal.reason, signal.evidence) == (severity, reason, finding.evidence):
        return signal
    signal.severity, signal.reason, signal.evidence = severity, reason, finding.evidence
    ledger.extend(signal)
    incident = signal.incident
    if (incident.agent_id, incident.kind, incident.together) == (signal.agent_id, signal.kind, False):
        incident.reason = reason
        ledger.change(incident)
    # Of a shared incident only the first agent announces it.
    if rose and not (incident.together and incident.severity == Severity.CRITICAL):
        _announce_update(ledger, incident, signal, state, rose=True)
    return signal


def severity_after(kind: str, before: str, found: str) -> str:
    """A signal stays critical until it is cleared, unless it is a budget: people raise budgets."""
    may_ease = signal_kinds.traits(kind).is_budget
    return found if found == Severity.CRITICAL or may_ease else before


def write(ledger: Ledger) -> None:
    """Store what a review changed, and close the incidents whose last signal it cleared."""
    ledger.write_signals()
    closing = [closing for _, closing in sorted(ledger.closing.items())]
    for incident, state in closing:
        incident.recovered_in = restarts.recovered_in(incident, state)
        outcome, by = _conclusion(incident, state)
        _end(incident, state, by, ledger.now, outcome)
        ledger.change(incident)
        text = _conclusion_text(outcome, by, incident, ledger.now)
        ledger.record(incident, IncidentEvent.Kind.RESOLVED, text, actor=by, data=_facts(incident))
    ledger.write_incidents()
    for incident, _ in closing:
        restarts.audit_proof(incident)


def _conclusion(incident: Incident, state: AgentState) -> tuple[Incident.Outcome, str]:
    """Why nothing is wrong any more, and who is behind it: most that ends an incident is no recovery."""
    agent = state.agent
    if agent.paused_at:
        if agent.maintenance_id:
            return Incident.Outcome.MAINTENANCE, WATCHDOG
        if agent.over_plan_at == agent.paused_at:
            return Incident.Outcome.OVER_PLAN, WATCHDOG
        return Incident.Outcome.PAUSED, agent.paused_by or WATCHDOG
    if state.reported == "shutdown":
        return Incident.Outcome.STOPPED, WATCHDOG
    # A new day, a new run or a higher limit: nothing was repaired.
    is_budget = signal_kinds.traits(incident.kind).is_budget
    return (Incident.Outcome.WITHIN_BUDGET if is_budget else Incident.Outcome.RECOVERED), WATCHDOG


def _conclusion_text(outcome: Incident.Outcome, by: str, incident: Incident, now: datetime) -> str:
    who = "" if by == WATCHDOG else f" by {by}"
    lasted = f"after {spoken((now - incident.started_at).total_seconds())}"
    texts = {
        Incident.Outcome.STOPPED: f"Stopped {lasted}",
        Incident.Outcome.PAUSED: f"Monitoring paused{who} {lasted}",
        Incident.Outcome.MAINTENANCE: f"Maintenance started {lasted}",
        Incident.Outcome.WITHIN_BUDGET: f"Within the budget again {lasted}",
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
    _end(incident, state, by, now, outcome)
    incident.save(update_fields=["resolved_at", "resolved_by", "outcome", "recovered_in", *Incident.SPEND])
    record(incident=incident, kind=IncidentEvent.Kind.RESOLVED, text=text, actor=by, data=_facts(incident), now=now)


def _end(incident: Incident, state: AgentState | None, by: str, now: datetime, outcome: Incident.Outcome) -> None:
    if state is not None:
        incident.count_spend(state)
    incident.resolved_at, incident.resolved_by, incident.outcome = now, by, outcome


def _facts(incident: Incident) -> dict[str, Any]:
    """What the event of a resolved incident says about its restarts."""
    return {"restarts": incident.restarts, "restart_to_recovery": incident.recovered_in} if incident.restarts else {}
