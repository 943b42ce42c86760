"""Whether an agent may be restarted now; if not, why and until when. Pure: no Django, no clock.

The numbers are product decisions: at most 3 restarts per hour and 10 per day, including those people request. After
the first, second and third restart within an hour, automatic ones wait 1, 5 and 15 minutes. Then the watchdog gives up.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import datetime, timedelta
from typing import Final

from agents.domain import signal_kinds
from agents.domain.signal_kinds import Traits

# Who requests a restart: a person (or a full API key), the runner beside the agent, the watchdog.
PERSON: Final = "person"
RUNNER: Final = "runner"
WATCHDOG: Final = "watchdog"
# (within, at most) restarts
BUDGET: Final = ((timedelta(hours=1), 3), (timedelta(days=1), 10))
DELAYS: Final = (60.0, 300.0, 900.0)
REMEMBERED: Final = BUDGET[-1][0]
# Signals a restart would only repeat, at further cost.
SURVIVES_RESTART: Final = signal_kinds.where(lambda traits: traits.survives_restart)
FAILED: Final = signal_kinds.RESTART_FAILED


@dataclass(frozen=True, slots=True)
class RestartContext:
    """Everything that decides about a restart. Times are aware, `patience` is seconds.

    `attempts`: restarts handed to a runner in the last day. `kinds`: the agent's current signals. `unsafe`: its work is
    not idempotent. `held`: it was stopped on purpose, as far as is known. `together`: it fell silent with others.
    `source_quiet`: it is silent and others on its host or runner have been late since the same time. `blind_until`:
    after a watchdog outage, when enough is known again. `patience`: how long a freshly started process may take to show
    progress.
    """

    policy: str
    origin: str
    now: datetime
    _: KW_ONLY
    attempts: Sequence[datetime] = ()
    kinds: Collection[str] = ()
    paused: bool = False
    unsafe: bool = False
    held: bool = False
    together: bool = False
    source_quiet: bool = False
    waiting_until: datetime | None = None
    blind_until: datetime | None = None
    patience: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """If refused, `reason` says why and what to do; `at` is when it will be allowed, if that depends only on time."""

    allowed: bool
    code: str = ""
    reason: str = ""
    at: datetime | None = None


ALLOWED: Final = Decision(allowed=True)


def may_restart(case: RestartContext, delays: Sequence[float] = DELAYS) -> Decision:
    """Whether the agent may be restarted now. People only need budget; automatic restarts pass every check."""
    if case.policy == "off":
        return _no("restart_off", "Restarts are off for this agent. Set its restart policy to manual or auto first.")
    if case.origin == PERSON:
        return _budget(case)
    return _refused(case) or _not_yet(case, delays) or ALLOWED


def caution(case: RestartContext, delays: Sequence[float] = DELAYS) -> Decision | None:
    """What a person should know before restarting anyway; None: nothing."""
    return _refused(case) or _not_yet(case, delays)


def cures(kinds: Collection[str], *, runner_down: bool) -> set[str]:
    """The kinds among these that a restart can fix."""
    return {kind for kind in kinds if _is_curable(signal_kinds.traits(kind), runner_down=runner_down)}


def _is_curable(traits: Traits, *, runner_down: bool) -> bool:
    return traits.restart_cures or (traits.down_if_runner_confirms and runner_down)


def free_at(attempts: Sequence[datetime], now: datetime) -> datetime | None:
    """When the next restart is within the budget; None: now. Attempts in the future (clock set back) count as now."""
    made = sorted(min(at, now) for at in attempts)
    ends = []
    for within, most in BUDGET:
        recent = [at for at in made if at > now - within]
        if len(recent) >= most:
            ends.append(recent[-most] + within)
    return max(ends, default=None)


def counted(attempts: Sequence[datetime], now: datetime) -> list[datetime]:
    """The attempts within the shortest period whose budget they used up; all of them if none was."""
    for within, most in BUDGET:
        recent = sorted(at for at in attempts if at > now - within)
        if len(recent) >= most:
            return recent
    return sorted(attempts)


def delayed_until(
    attempts: Sequence[datetime], now: datetime, patience: float = 0.0, delays: Sequence[float] = DELAYS
) -> datetime | None:
    """Until when the last attempt still has time to succeed; None: it had enough."""
    recent = sorted(min(at, now) for at in attempts if at > now - BUDGET[0][0])
    if not recent or not delays:
        return None
    delay = max(delays[min(len(recent), len(delays)) - 1], patience)
    until = recent[-1] + timedelta(seconds=delay)
    return until if until > now else None


def has_failed(
    attempts: Sequence[datetime], now: datetime, patience: float = 0.0, delays: Sequence[float] = DELAYS
) -> bool:
    """Whether the budget is used up and the last attempt had enough time: then the watchdog gives up."""
    return free_at(attempts, now) is not None and delayed_until(attempts, now, patience, delays) is None


def _no(code: str, reason: str, at: datetime | None = None) -> Decision:
    return Decision(allowed=False, code=code, reason=reason, at=at)


def _budget(case: RestartContext) -> Decision:
    at = free_at(case.attempts, case.now)
    if at is None:
        return ALLOWED
    return _no(
        "restart_budget", "Restart limit reached: 3 times per hour or 10 times per day. Find the cause first.", at
    )


def _refused(case: RestartContext) -> Decision | None:
    """Why no automatic restart is allowed at any time; None: it is."""
    if case.paused:
        return _no("paused", "Monitoring is paused: no automatic restarts until it is resumed.")
    if case.held:
        return _no("held", "It was stopped on purpose, or may have been: only a person can restart it.")
    if case.unsafe:
        return _no("unsafe_to_repeat", "Its work is marked as not idempotent: only a person can restart it.")
    if FAILED in case.kinds:
        return _gave_up()
    if set(case.kinds) & SURVIVES_RESTART:
        return _no("needs_a_person", f"It is {_repeated(case.kinds)}: a restart would only repeat that.")
    if case.together:
        return _no("together", "Several agents fell silent at once: check their host or the network.")
    if case.origin == WATCHDOG and case.source_quiet:
        return _no("source_quiet", "Other agents on its host are late, too: check the host or the network.")
    if case.origin == WATCHDOG and case.policy != "auto":
        return _no("restart_manual", "Automatic restarts are off for this agent: a person has to restart it.")
    return None


def _repeated(kinds: Collection[str]) -> str:
    """What a restart would repeat, as the end of "It is …"."""
    states = {signal_kinds.LOOP: "in a loop", signal_kinds.COST: "over budget"}
    return " and ".join(text for kind, text in states.items() if kind in kinds) or "in trouble"


def _not_yet(case: RestartContext, delays: Sequence[float]) -> Decision | None:
    """Why not yet; or, once the budget is used up, why only a person can continue."""
    now = case.now
    if case.origin == WATCHDOG and case.blind_until and case.blind_until > now:
        return _no("outage", "The watchdog was offline: agents get time to report first.", case.blind_until)
    if case.waiting_until and case.waiting_until > now:
        return _no("waiting", "The agent is waiting, as it declared.", case.waiting_until)
    until = delayed_until(case.attempts, now, case.patience, delays)
    if until is not None:
        return _no("restart_delay", "It was restarted recently and still has time to recover.", until)
    return _gave_up() if free_at(case.attempts, now) else None


def _gave_up() -> Decision:
    return _no("gave_up", "Repeated restarts did not help: find the cause, then restart it yourself.")
