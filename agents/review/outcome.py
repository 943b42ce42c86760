"""What a review writes to the hot row: the status, the warnings for clients, and when to review the agent again.

Reads the case only; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from agents import rules
from agents.commands import restart_context
from agents.domain import budgets, durations, jobs, restart_policy, signal_kinds
from agents.domain.client_warning import ClientWarning
from agents.models import Signal, Status
from agents.review.case import Case, curable_kinds, has_ended
from agents.rules import cost
from agents.rules.facts import CRITICAL
from agents.storage.columns import CONCLUDED

# How soon an agent is reviewed again whose review failed.
SET_ASIDE: Final = timedelta(seconds=60)
REVIEW_SOON: Final = timedelta(seconds=1)
# The project's settings and the server's clock may change, so no deadline is trusted for longer.
MAX_WAIT: Final = timedelta(minutes=10)
# How often "No heartbeat for 3 minutes" is brought up to date at most.
REASON_UPDATED_EVERY: Final = timedelta(minutes=1)
_SEVEREST_FIRST: Final = tuple(Status.values)


def row(case: Case, now: datetime) -> dict[str, Any]:
    """The columns of the hot row that a review writes."""
    state = case.state
    if case.set_aside:
        kept = {name: getattr(state, name) for name in CONCLUDED if name != "check_at"}
        return {"agent_id": case.agent.pk, "check_at": now + SET_ASIDE, **kept}
    incident = case.signals[0].incident if case.signals else None
    status, planned = status_of(case, now), planned_review(case, now)
    return {
        "agent_id": case.agent.pk,
        "check_at": planned,
        "planned_at": planned if _is_calm(case, status) else None,
        "reviewed_at": now,
        "quiet_until": case.rhythm.quiet_until,
        "learned_progress_timeout": case.rhythm.timeout,
        "status": status,
        "incident_id": incident.pk if incident else None,
        "incident_kind": incident.kind if incident else "",
        "warnings": _warnings(case.signals) or None,
        "hold": _on_hold(case),
        "waiting_until": _waiting_until(case, now),
        "lifted": _waived_budgets(case),
    }


def _is_calm(case: Case, status: str) -> bool:
    """Whether only time can change this outcome, as long as nothing new comes in."""
    return status == Status.OK and not case.signals and not case.has_unread_beats


def _on_hold(case: Case) -> bool:
    """A person holds it, a budget, or a loop."""
    return bool(case.state.hold_reason) or case.holds_for_loop or is_over_budget(case.signals)


def is_over_budget(signals: Sequence[Signal]) -> bool:
    """Whether one of an agent's open signals holds it."""
    return any(signal.severity == CRITICAL and signal_kinds.traits(signal.kind).is_budget for signal in signals)


def after_hold(waiting_until: datetime | None, now: datetime) -> datetime:
    """The progress timeout starts again after a hold, as after a declared wait."""
    return max(waiting_until, now) if waiting_until else now


def _waiting_until(case: Case, now: datetime) -> datetime | None:
    until = case.state.waiting_until
    return after_hold(until, now) if case.state.hold and not _on_hold(case) else until


def _waived_budgets(case: Case) -> dict[str, Any] | None:
    """Heartbeats decide on holds by the hot row alone, so it must know which budgets a person waived."""
    if not rules.in_force(cost, case.agent.project.rules, case.agent.rules).on:
        return budgets.ALL_WAIVED
    waived: dict[str, Any] | None = case.memory.rules.get(cost.KIND, {}).get("lifted")
    return waived


def _warnings(signals: Sequence[Signal]) -> list[list[str]]:
    """The warnings that heartbeats are answered with, each as a key and a reason."""
    return [
        [ClientWarning(signal.incident_id, signal.kind, signal.pk, _budget_of(signal)).encode(), signal.reason]
        for signal in signals
        if _warns_client(signal)
    ]


def _warns_client(signal: Signal) -> bool:
    traits = signal_kinds.traits(signal.kind)
    return bool(traits.client_warning) and (signal.severity == CRITICAL or not traits.is_budget)


def _budget_of(signal: Signal) -> str:
    """The exceeded budget and its limit, so that the client is warned again when a raised budget is exceeded."""
    is_budget = signal_kinds.traits(signal.kind).is_budget
    worst = next(iter(budgets.records_in(signal.evidence)), None) if is_budget else None
    return f"{worst.name}{worst.limit}" if worst else ""


def status_of(case: Case, now: datetime) -> str:
    """The agent's status after this review."""
    if case.agent.paused_at:
        return Status.PAUSED
    if has_ended(case, now):
        return Status.STOPPED
    if case.findings or case.unproven or case.state.reported == "warning":
        return _status_in_trouble(case)
    if case.state.waiting_until and case.state.waiting_until > now:
        return Status.WAITING
    return Status.OK if case.state.beats else Status.NEW


def _status_in_trouble(case: Case) -> str:
    """The severest status of any finding, at least a warning."""
    kinds = [signal_kinds.traits(finding.kind) for finding in case.findings]
    statuses = [traits.shown_as for traits in kinds]
    if case.state.runner_down and any(traits.down_if_runner_confirms for traits in kinds):
        return Status.DOWN
    return min(statuses, key=_SEVEREST_FIRST.index, default=Status.WARNING)


def planned_review(case: Case, now: datetime) -> datetime | None:
    """The next review; of an agent without findings the one that is planned already, if it comes first.

    It costs little, but changing the indexed column costs the hot row its heap-only update.
    """
    planned, following = case.state.check_at, next_review(case, now)
    is_early = bool(planned and following and now < planned <= following)
    return planned if is_early and not case.findings else following


def next_review(case: Case, now: datetime) -> datetime | None:
    """When time alone could change the outcome. None: never. A heartbeat that matters brings the review forward."""
    if case.agent.paused_at:
        return None
    if has_ended(case, now):
        return now + REVIEW_SOON if case.findings else None
    upcoming = (min(moment, now + MAX_WAIT) for moment in _turning_points(case, now) if moment and moment > now)
    return min(upcoming, default=None)


def _turning_points(case: Case, now: datetime) -> Iterator[datetime | None]:
    """Moments at which the outcome may change without a heartbeat."""
    yield from (clock.deadline for clock in (case.alive, case.progress) if clock)
    if case.job is not None:
        yield from jobs.turning_points(case.job)
    yield case.retry_restart_at
    yield _restart_given_up_at(case, now)
    yield case.state.waiting_until
    traits = [signal_kinds.traits(finding.kind) for finding in case.findings]
    if any(kind.is_budget for kind in traits):
        yield _midnight(case, now)
    yield _reason_changes_at(case, now)
    if case.has_unread_beats or _recovered_from_error(case):
        yield now + REVIEW_SOON


def _reason_changes_at(case: Case, now: datetime) -> datetime | None:
    """When a reason that contains a duration reads differently: after two hours it does so once an hour."""
    growing = [finding for finding in case.findings if signal_kinds.traits(finding.kind).reason_grows]
    if not growing:
        return None
    lasted = min((now - finding.started_at).total_seconds() for finding in growing)
    return now + max(REASON_UPDATED_EVERY, timedelta(seconds=durations.unit(lasted)))


def _recovered_from_error(case: Case) -> bool:
    """Whether an error was reported and followed by a good heartbeat: its signal is open, and due to be cleared."""
    return any(beat.status == "error" for beat in case.beats) and case.state.reported != "error"


def _restart_given_up_at(case: Case, now: datetime) -> datetime | None:
    """When the last restart will have had its time to work. None: nothing is waiting for one."""
    kinds = curable_kinds(case)
    if not kinds:
        return None
    patience = restart_context.patience(case.agent, case.state, kinds)
    return restart_policy.delayed_until(case.restarts, now, patience, restart_context.delays())


def _midnight(case: Case, now: datetime) -> datetime:
    zone = ZoneInfo(case.agent.project.time_zone)
    return datetime.combine(now.astimezone(zone).date() + timedelta(days=1), time.min, zone)
