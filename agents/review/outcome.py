"""What a review concludes of one agent: how it is shown, what its clients are told, when to look again.

Reads the case only; writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from agents import rules
from agents.commands import restart_context
from agents.domain import budgets, restart_policy
from agents.domain.client_warning import ClientWarning
from agents.models import Signal, Status
from agents.review.case import Case, has_ended, needed_for
from agents.rules import cost
from agents.rules.facts import CRITICAL
from agents.storage import statements

# After an error in one agent's conclusion the others go on, and it is looked at again after this.
SET_ASIDE: Final = timedelta(seconds=60)
LOOK_AGAIN: Final = timedelta(seconds=1)
# No deadline is trusted for longer: its project's settings or our own clock may change in between.
TRUSTED_FOR: Final = timedelta(minutes=10)
# "No heartbeat for 3 minutes" is said anew so often while it goes on.
GROWS_OLDER: Final = ("missed_heartbeat", "stalled")
REWORDED_EVERY: Final = timedelta(minutes=1)


def row(case: Case, now: datetime) -> dict[str, Any]:
    """What the hot row learns from the review."""
    state = case.state
    if case.set_aside:
        kept = {name: getattr(state, name) for name in statements.CONCLUDED if name != "check_at"}
        return {"agent_id": case.agent.pk, "check_at": now + SET_ASIDE, **kept}
    incident = case.standing[0].incident if case.standing else None
    return {
        "agent_id": case.agent.pk,
        "check_at": look_again(case, now),
        "quiet_until": case.rhythm.quiet_until,
        "learned_progress_timeout": case.rhythm.timeout,
        "status": status_of(case, now),
        "incident_id": incident.pk if incident else None,
        "incident_kind": incident.kind if incident else "",
        "warnings": _warnings(case.standing) or None,
        "hold": _on_hold(case.standing),
        "waiting_until": _waited_until(case, now),
        "lifted": _lifted(case),
    }


def _on_hold(standing: Sequence[Signal]) -> bool:
    return any(signal.kind == "cost" and signal.severity == CRITICAL for signal in standing)


def _waited_until(case: Case, now: datetime) -> datetime | None:
    """What was held until now has its time to go on, as after a wait."""
    until = case.state.waiting_until
    if not case.state.hold or _on_hold(case.standing):
        return until
    return max(until, now) if until else now


def _lifted(case: Case) -> dict[str, Any] | None:
    """What heartbeats must know of it, which hold by themselves: budgets that a person let pass, or all of them."""
    if not rules.in_force(cost, case.agent.project.rules, case.agent.rules).on:
        return budgets.ALL_WAIVED
    lifted: dict[str, Any] | None = case.memory.rules.get(cost.KIND, {}).get("lifted")
    return lifted


def _warnings(standing: Sequence[Signal]) -> list[list[str]]:
    """What clients are to be warned of: a loop, or a budget that is exceeded and not merely near."""
    return [
        [ClientWarning(signal.incident_id, signal.kind, signal.pk, _budget_of(signal)).encode(), signal.reason]
        for signal in standing
        if signal.kind == "loop" or (signal.kind == "cost" and signal.severity == CRITICAL)
    ]


def _budget_of(signal: Signal) -> str:
    """The exceeded budget and its limit, so that the client is warned again when a raised budget is exceeded."""
    worst = next(iter(budgets.records_in(signal.evidence)), None) if signal.kind == "cost" else None
    return f"{worst.name}{worst.limit}" if worst else ""


def status_of(case: Case, now: datetime) -> str:
    """How it is shown."""
    kinds, state = {finding.kind for finding in case.findings}, case.state
    if case.agent.paused_at:
        return Status.PAUSED
    if has_ended(case, now):
        return Status.STOPPED
    if kinds & {"missed_heartbeat", "crash"} or ("error" in kinds and state.runner_down):
        return Status.DOWN
    if "stalled" in kinds:
        return Status.STALLED
    if kinds or case.unproven or state.reported == "warning":
        return Status.WARNING
    if state.waiting_until and state.waiting_until > now:
        return Status.WAITING
    return Status.OK if state.beats else Status.NEW


def look_again(case: Case, now: datetime) -> datetime | None:
    """The next moment at which time alone could change the verdict; a heartbeat brings it forward when it matters."""
    if case.agent.paused_at:
        return None
    if has_ended(case, now):
        return now + LOOK_AGAIN if case.findings else None
    moments = [clock.deadline for clock in (case.alive, case.progress) if clock]
    moments += [moment for moment in (case.ask_again, _last_chance(case, now)) if moment]
    if case.state.waiting_until:
        moments.append(case.state.waiting_until)
    if any(finding.kind == "cost" for finding in case.findings):
        moments.append(_midnight(case, now))
    if any(finding.kind in GROWS_OLDER for finding in case.findings):
        moments.append(now + REWORDED_EVERY)
    passed = any(beat.status == "error" for beat in case.beats) and case.state.reported != "error"
    if passed or case.more_to_read:
        moments.append(now + LOOK_AGAIN)
    return min((min(moment, now + TRUSTED_FOR) for moment in moments if moment > now), default=None)


def _last_chance(case: Case, now: datetime) -> datetime | None:
    """When the last restart of what still does not work has had its time."""
    needed = needed_for(case)
    if not needed:
        return None
    return restart_policy.delayed_until(
        case.restarts, now, restart_context.patience(case.agent, case.state, needed), restart_context.delays()
    )


def _midnight(case: Case, now: datetime) -> datetime:
    zone = ZoneInfo(case.agent.project.time_zone)
    return datetime.combine(now.astimezone(zone).date() + timedelta(days=1), time.min, zone)
