"""Whether an agent may be restarted now, and if not, why and until when. Pure: no Django, no clock.

The numbers are the product's: at most 3 in an hour and 10 in a day, whoever asks, a person too; 1, 5 and 15 minutes
after the first, second and third of an hour, which a person need not wait for. Then it is given up.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from agents.domain import signal_kinds
from agents.domain.signal_kinds import Traits

# Who asks: a person (or whoever holds a full key), the runner beside the agent, the review by itself.
PERSON: Final = "person"
RUNNER: Final = "runner"
WATCHDOG: Final = "watchdog"
# (within, at most)
BUDGET: Final = ((timedelta(hours=1), 3), (timedelta(days=1), 10))
DELAYS: Final = (60.0, 300.0, 900.0)
REMEMBERED: Final = BUDGET[-1][0]
SURVIVES_RESTART: Final = signal_kinds.where(lambda traits: traits.survives_restart)
FAILED: Final = signal_kinds.RESTART_FAILED


@dataclass(frozen=True, slots=True)
class RestartContext:
    """What bears on a restart. Times are aware, `patience` is seconds.

    `attempts`: when restarts were handed to a runner in the last day. `kinds`: what is wrong with the agent now.
    `unsafe`: its work must not be done twice. `held`: a person stopped it. `together`: it fell silent with others.
    `source_quiet`: it is silent, and others of its host or runner have been late since the same time.
    `blind_until`: until then too little is known after an outage of our own. `patience`: how long a process that was
    just started may take to prove itself.
    """

    policy: str
    origin: str
    now: datetime
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


@dataclass(frozen=True, slots=True)
class Decision:
    """`reason` says what to do when it is not allowed, `at` when it may be, if that is only a matter of time."""

    allowed: bool
    code: str = ""
    reason: str = ""
    at: datetime | None = None


ALLOWED: Final = Decision(True)


def may_restart(case: RestartContext, delays: Sequence[float] = DELAYS) -> Decision:
    """Whether it may be restarted now: a person's wish asks less, what nobody asked for asks everything."""
    if case.policy == "off":
        return _no("restart_off", "Restarts are off for this agent: set restart_policy to manual or auto first.")
    if case.origin == PERSON:
        return _budget(case)
    return _refused(case) or _not_yet(case, delays) or ALLOWED


def caution(case: RestartContext, delays: Sequence[float] = DELAYS) -> Decision | None:
    """What speaks against a restart and does not keep a person from it; None: nothing."""
    return _refused(case) or _not_yet(case, delays)


def cures(kinds: Collection[str], *, runner_down: bool) -> set[str]:
    """Those of these kinds of signals for which a restart may be made."""
    return {kind for kind in kinds if _is_curable(signal_kinds.traits(kind), runner_down=runner_down)}


def _is_curable(traits: Traits, *, runner_down: bool) -> bool:
    return traits.restart_cures or (traits.down_if_runner_confirms and runner_down)


def free_at(attempts: Sequence[datetime], now: datetime) -> datetime | None:
    """When the budget has room again; None: now. A clock that was set back leaves attempts ahead: they count as now."""
    made = sorted(min(at, now) for at in attempts)
    ends = []
    for within, most in BUDGET:
        recent = [at for at in made if at > now - within]
        if len(recent) >= most:
            ends.append(recent[-most] + within)
    return max(ends, default=None)


def counted(attempts: Sequence[datetime], now: datetime) -> list[datetime]:
    """Those of the shortest time that used up what is allowed in it; all, where none did."""
    for within, most in BUDGET:
        recent = sorted(at for at in attempts if at > now - within)
        if len(recent) >= most:
            return recent
    return sorted(attempts)


def delayed_until(
    attempts: Sequence[datetime], now: datetime, patience: float = 0.0, delays: Sequence[float] = DELAYS
) -> datetime | None:
    """Until when the last attempt is given time to work; None: long enough."""
    recent = sorted(min(at, now) for at in attempts if at > now - BUDGET[0][0])
    if not recent or not delays:
        return None
    delay = max(delays[min(len(recent), len(delays)) - 1], patience)
    until = recent[-1] + timedelta(seconds=delay)
    return until if until > now else None


def has_failed(
    attempts: Sequence[datetime], now: datetime, patience: float = 0.0, delays: Sequence[float] = DELAYS
) -> bool:
    """Whether all attempts that the budget allows were made, and the last one had its time: then it is given up."""
    return free_at(attempts, now) is not None and delayed_until(attempts, now, patience, delays) is None


def _no(code: str, reason: str, at: datetime | None = None) -> Decision:
    return Decision(False, code, reason, at)


def _budget(case: RestartContext) -> Decision:
    at = free_at(case.attempts, case.now)
    if at is None:
        return ALLOWED
    return _no("restart_budget", "It was restarted 3 times within an hour or 10 times within a day: find out why.", at)


def _refused(case: RestartContext) -> Decision | None:
    """Why nothing automatic may touch it, whatever the time; None: nothing speaks against it."""
    if case.paused:
        return _no("paused", "The agent is paused: nothing restarts it by itself until it is resumed.")
    if case.held:
        return _no("held", "A person stopped the agent: only a person restarts it.")
    if case.unsafe:
        return _no("unsafe_to_repeat", "Its work must not be done twice, as it is set: only a person restarts it.")
    if FAILED in case.kinds:
        return _gave_up()
    if set(case.kinds) & SURVIVES_RESTART:
        return _no("needs_a_person", "It loops or is over its budget, and a restart would buy the same again.")
    if case.together:
        return _no("together", "Many agents fell silent at once: their host or the network is to be looked at.")
    if case.origin == WATCHDOG and case.source_quiet:
        return _no("source_quiet", "Others on its host are late, too: it is the host or the network, not the agent.")
    if case.origin == WATCHDOG and case.policy != "auto":
        return _no("restart_manual", "Only a person or its runner restarts this agent: its restart_policy is manual.")
    return None


def _not_yet(case: RestartContext, delays: Sequence[float]) -> Decision | None:
    """What time alone changes; and the end of the budget, after which only a person goes on."""
    now = case.now
    if case.origin == WATCHDOG and case.blind_until and case.blind_until > now:
        return _no("outage", "The watchdog itself was away: agents report first.", case.blind_until)
    if case.waiting_until and case.waiting_until > now:
        return _no("waiting", "The agent waits as it declared.", case.waiting_until)
    until = delayed_until(case.attempts, now, case.patience, delays)
    if until is not None:
        return _no("restart_delay", "It was restarted a short time ago and is given time to work.", until)
    return _gave_up() if free_at(case.attempts, now) else None


def _gave_up() -> Decision:
    return _no("gave_up", "Restarting it again and again did not help: a person has to look, then restart it.")
