"""What one heartbeat changes in an agent's hot row, and what is answered. Pure: no Django, no clock.

Decisions that need only the row and the heartbeat are made here; everything slower is left to the review.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Final

import msgspec

from agents.domain import budgets, clocks, instances, intents, pinning, signal_kinds
from agents.domain.client_warning import ClientWarning
from agents.domain.heartbeat import Beat, Waiting, hash_of
from agents.domain.hot_row import AgentLimits, FoldResult, Hot, IngestTime
from agents.domain.money import MICRO
from agents.domain.notes import BLIND, DYING, EXPECTED, OUTDATED, RUNNER_SAYS_DOWN, STARTED
from agents.domain.pricing import Spent, merged
from agents.domain.wire import sender_clock
from agents.ingest import hosts

# Published clients give up after 5 s and send the same body once more. The second copy of a heartbeat that was stored
# late, or that waited in the same jam, must not be counted again.
RESENT_AFTER: Final = timedelta(seconds=4)
RESENT_BEFORE: Final = timedelta(seconds=12)
JAM: Final = 0.25
LATE: Final = 4.0
# Concurrent heartbeats may be stored out of order; one that is older than this means our clock was set back.
CLOCK_BACK: Final = timedelta(seconds=5)
MAX_WAIT: Final = timedelta(hours=24)
MAX_WARNED: Final = 5
# Statuses that a runner which cannot inspect its target does not overwrite: it knows nothing better.
LASTING: Final = ("error", "shutdown")
# The contract's warning codes, by signal kind.
WARNINGS: Final = {kind: traits.client_warning for kind, traits in signal_kinds.TRAITS.items()}
# The published client sends its crash, waits a second for delivery, and its background heartbeats go on meanwhile.
LAST_BREATH: Final = timedelta(seconds=1.25)


def fold(hot: Hot, beat: Beat, spent: Spent, limits: AgentLimits, moment: IngestTime, source: str) -> FoldResult:
    """Apply one heartbeat and its spend to the hot row; return what to store and answer.

    The order matters, because the row holds the previous heartbeat until step 6 replaces it:

    0. Of several replicas, compare with the one that sent it.
    1. Interpret: is it a resent copy, what does its context say (`note`), is it progress. Compares with the last one.
    2. Drop delivered warnings that a new process has not seen. Take the declared limit, unless that would end a hold.
    3. Count spend by day, month and run, nothing for a copy. Remember the body, so a copy can be recognized.
    4. Reset the deadlines: alive, then progress. The gap is measured to the last heartbeat.
    5. Decide whether anything changed that the review must look at.
    6. Remember what the heartbeat said.
    7. Check budgets, with this heartbeat counted.
    8. Bring the review forward to the new deadlines, even if it must look at once: it may be behind.
    9. Pick the warning to deliver.
    """
    is_late = (beat.age or 0) > sender_clock.FRESH
    made_at = sender_clock.made_at(beat, moment.received_at) if is_late else moment.received_at
    if hot.last_beat_at and made_at < hot.last_beat_at - CLOCK_BACK and beat.age:
        return _fold_outdated(hot, beat, spent, limits, moment)
    if hot.instance and _is_another(hot, beat):
        instances.switch(hot, beat.instance or "")
    resent = _is_resent(hot, beat, moment)
    note = _note(hot, beat, made_at)
    progress = not resent and _is_progress(hot, beat)
    _forget_delivered(hot, beat, note)
    spent = Spent(spent.at, spent.day) if resent else spent
    # Before its own spend, which may be what exceeds the old limit.
    hot.cost_limit = _declared_limit(hot, beat, limits, moment.today)
    _count_spend(hot, beat, spent, moment, started=note == STARTED, resent=resent)
    gap = _reset_deadlines(hot, beat, moment.received_at, note, made_at=made_at, progress=progress)
    # Before step 6, which overwrites the status this compares with.
    claimed = _claimed(hot, beat, source, moment.received_at, armed=limits.armed)
    changed = _needs_review(hot, beat) or bool(claimed)
    _remember(hot, beat, source, note, claimed=bool(claimed), labels=limits.labels)
    used = budgets_of(hot, limits, moment.today)
    changed = changed or _nears_a_budget(used, spent, limits)
    _bring_review_forward(hot, limits)
    warning, reason = _next_warning(hot, beat)
    return FoldResult(
        spent=spent,
        progress=progress,
        warning=warning,
        reason=reason,
        note=note,
        hold=on_hold(hot, used, limits),
        gap=gap,
        unread=changed and not limits.paused,
        claimed=claimed,
    )


def _fold_outdated(hot: Hot, beat: Beat, spent: Spent, limits: AgentLimits, moment: IngestTime) -> FoldResult:
    """Count the spend of a heartbeat that was made before the last one: what it says about the agent is outdated.

    A run of a job that it reports is not: the review sorts it in.
    """
    _count_spend(hot, beat, spent, moment, started=False, resent=False)
    used = budgets_of(hot, limits, moment.today)
    changed = beat.job is not None or _nears_a_budget(used, spent, limits)
    _bring_review_forward(hot, limits)
    return FoldResult(
        spent=spent,
        progress=False,
        warning=None,
        reason=None,
        note=OUTDATED,
        hold=on_hold(hot, used, limits),
        unread=changed and not limits.paused,
    )


# 1. Interpret


def _is_resent(hot: Hot, beat: Beat, moment: IngestTime) -> bool:
    """Whether it is the second copy of an old client's heartbeat; our client sends a `beat_id` instead."""
    if beat.beat_id or hot.body_hash != beat.body_hash or not (beat.tokens or beat.cost) or hot.body_at is None:
        return False
    apart = moment.received_at - hot.body_at
    return RESENT_AFTER <= apart <= RESENT_BEFORE and (hot.stored_after > LATE or moment.waited > JAM)


def _note(hot: Hot, beat: Beat, at: datetime) -> str | None:
    if hot.reported == "shutdown" and beat.status == "error" and says_down(hot, beat):
        return EXPECTED
    if beat.is_blind:
        return BLIND
    if hot.crashed and _is_background(beat) and hot.last_beat_at and at - hot.last_beat_at <= LAST_BREATH:
        return DYING
    return STARTED if not beat.by_runner and _has_restarted(hot, beat) else None


def _has_restarted(hot: Hot, beat: Beat) -> bool:
    """Whether the client's process was restarted since its last heartbeat."""
    if _is_another(hot, beat) and (beat.seq or 0) <= 1:
        return True
    went_back = beat.iteration_count is not None and hot.iteration is not None and beat.iteration_count < hot.iteration
    ended = hot.reported == "shutdown" or hot.crashed
    return went_back or (ended and beat.status != "shutdown")


def _is_background(beat: Beat) -> bool:
    """Whether it may come from an old client's background thread, which only says that the process exists."""
    return beat.status == "ok" and not (beat.message or beat.instance or beat.by_runner)


def _is_another(hot: Hot, beat: Beat) -> bool:
    """Whether another process of the agent sent it. A runner's own instance says nothing about the agent."""
    return not beat.by_runner and bool(beat.instance) and beat.instance != hot.instance


def _is_progress(hot: Hot, beat: Beat) -> bool:
    """Evidence of work: our client says so; from old clients, anything new counts.

    A stuck main loop keeps sending its old counter and its last five prompts, so repeated values do not count. From a
    runner only its probe counts: the runner's own messages are not the agent's work.
    """
    if beat.status in ("error", "shutdown"):
        return False
    if beat.progress is not None or beat.by_runner:
        return bool(beat.progress)
    if beat.tokens or beat.cost or beat.tool_calls:
        return True
    return (
        (bool(beat.message) and hash_of(beat.message or "") != hot.message_hash)
        or (beat.iteration_count is not None and beat.iteration_count != hot.iteration)
        or (bool(beat.prompt_hashes) and _hash_list(beat.prompt_hashes) != hot.prompts_hash)
        or (bool(beat.tool_call_log) and _hash_calls(beat) != hot.calls_hash)
    )


def _hash_list(texts: list[str] | None) -> int:
    return hash_of("\n".join(texts or ()))


def _hash_calls(beat: Beat) -> int:
    return hash_of(msgspec.json.encode(beat.tool_call_log))


# 2. Delivered warnings


def _forget_delivered(hot: Hot, beat: Beat, note: str | None) -> None:
    """A new process does not know about an exceeded budget, so it is warned again.

    Not about the previous process's loop: the warning would stop it at its first heartbeat. If it loops itself, that
    is a new signal with a warning of its own.
    """
    if note == STARTED:
        loops = [key for key, _ in hot.warnings or () if ClientWarning.decode(key).is_loop]
        hot.warned = " ".join(loops[-MAX_WARNED:])
    elif hot.warned and _is_another(hot, beat):
        hot.warned = " ".join(key for key in hot.warned.split() if ClientWarning.decode(key).is_loop)


# 3. Count spend


def _count_spend(hot: Hot, beat: Beat, spent: Spent, moment: IngestTime, *, started: bool, resent: bool) -> None:
    _start_periods(hot, moment.today)
    _count_periods(hot, spent)
    _count_run(hot, spent, started=started)
    _remember_body(hot, beat, moment, resent=resent)


def _start_periods(hot: Hot, today: date) -> None:
    """Reset the sums of the day and the month when a new one has begun."""
    if hot.day is None or today > hot.day:
        hot.day, hot.tokens_today, hot.cost_today, hot.priced_today, hot.unpriced = today, 0, 0, 0, None
    month = today.replace(day=1)
    if hot.month is None or month > hot.month:
        hot.month, hot.tokens_month, hot.cost_month, hot.priced_month, hot.unpriced_month = month, 0, 0, 0, 0


def _count_periods(hot: Hot, spent: Spent) -> None:
    """Add to the current day and month if it was spent in them; late arrivals only count towards the total."""
    unpriced = spent.unpriced_tokens
    if spent.day == hot.day:
        hot.tokens_today += spent.tokens
        hot.cost_today += spent.cost
        hot.priced_today += spent.priced
        if spent.unpriced:
            hot.unpriced = merged(hot.unpriced or {}, spent.unpriced)
    if spent.day.replace(day=1) == hot.month:
        hot.tokens_month += spent.tokens
        hot.cost_month += spent.cost
        hot.priced_month += spent.priced
        hot.unpriced_month += unpriced
    hot.tokens_total += spent.tokens
    hot.cost_total += spent.cost
    hot.priced_total += spent.priced
    hot.unpriced_total += unpriced


def _count_run(hot: Hot, spent: Spent, *, started: bool) -> None:
    """Add to the current run, but not what an earlier process had left to send."""
    if started and (hot.run_at is None or spent.at > hot.run_at):
        hot.run_at, hot.run_cost, hot.run_priced, hot.run_unpriced = spent.at, 0, 0, 0
    hot.run_at = hot.run_at or spent.at
    if spent.at >= hot.run_at:
        hot.run_cost += spent.cost
        hot.run_priced += spent.priced
        hot.run_unpriced += spent.unpriced_tokens


def _remember_body(hot: Hot, beat: Beat, moment: IngestTime, *, resent: bool) -> None:
    """Heartbeats without sums may arrive between copies; after the second copy an equal body is a new heartbeat."""
    if resent:
        hot.body_hash = None
    elif beat.tokens or beat.cost:
        hot.body_hash, hot.body_at, hot.stored_after = beat.body_hash, moment.received_at, moment.waited


# 4. Reset the deadlines


def _reset_deadlines(
    hot: Hot, beat: Beat, at: datetime, note: str | None, *, made_at: datetime, progress: bool
) -> float | None:
    """Returns the seconds since the last heartbeat, where that is a gap."""
    hot.beats += 1
    # What was stored during an outage shows life then, not now: its process may have ended since.
    gap = None if note == DYING else _mark_alive(hot, made_at)
    _mark_progress(hot, beat, at, progress=progress)
    return gap


def _mark_alive(hot: Hot, at: datetime) -> float | None:
    """Returns the gap; None for the first heartbeat, after a shutdown, and where our clock did not advance."""
    before, gap = hot.last_beat_at, None
    if before is not None and before - CLOCK_BACK <= at <= before:
        return None
    if before is not None and at > before and hot.reported != "shutdown":
        gap = (at - before).total_seconds()
        hot.usual_gap = clocks.learn(hot.usual_gap, gap, clocks.MIN_LEARNED)
    hot.last_beat_at = at
    return gap


def _mark_progress(hot: Hot, beat: Beat, at: datetime, *, progress: bool) -> None:
    if progress:
        hot.quiet_until = None
    elif beat.progress_age is None:
        return
    then = at if progress else at - timedelta(seconds=beat.progress_age or 0)
    known = hot.last_progress_at
    hot.last_progress_at = then if known is None or at < known - CLOCK_BACK else max(then, known)


# 5. What the review must look at


def _needs_review(hot: Hot, beat: Beat) -> bool:
    """Whether the heartbeat itself, not just the passing of time, gives the review something to do."""
    return (
        beat.status != hot.reported
        or hot.status not in ("ok", "paused")
        or beat.status in ("error", "shutdown")
        or bool(beat.tool_call_log)
        or beat.job is not None
        or bool(beat.message and beat.tokens)
        or beat.waiting is not msgspec.UNSET
    )


def _claimed(hot: Hot, beat: Beat, source: str, at: datetime, *, armed: bool) -> str:
    """Another restart target or runner than the pinned ones; empty: none."""
    if beat.restart_type is None:
        return ""
    target = (beat.restart_type, _target_name(hot, beat))
    elsewhere = pinning.is_pinned_elsewhere(hot, target, source, at, armed=armed)
    return pinning.claim(target, source) if elsewhere else ""


def _target_name(hot: Hot, beat: Beat) -> str:
    """A report that names no target means the known one of its type, or the target that is named as the agent."""
    known = hot.restart_target if hot.restart_type == beat.restart_type else ""
    return beat.restart_target or known or beat.agent


# 6. Remember what it said


def _remember(hot: Hot, beat: Beat, source: str, note: str | None, *, claimed: bool, labels: Mapping[str, str]) -> None:
    """Keep what the next heartbeat is compared with; omitted fields keep their last value.

    `labels` are those that people gave the agent. `claimed`: a runner other than the agent's own sent it, which says
    nothing about the agent's target.
    """
    _remember_status(hot, beat, note)
    _remember_work(hot, beat)
    _remember_declared(hot, beat)
    sent, instance = beat.labels or {}, beat.instance or ""
    hot.source = source if beat.by_runner else hosts.source_on_host(source, sent, labels, instance)
    _remember_wait(hot, beat)
    if not claimed:
        # Before `_release`, which asks whether the runner says the target is down.
        _remember_runner(hot, beat, source)
        _release(hot, beat)


def _remember_status(hot: Hot, beat: Beat, note: str | None) -> None:
    if note in (EXPECTED, DYING) or (note == BLIND and hot.reported in LASTING):
        return
    hot.reported = beat.status
    hot.crashed = beat.status == "error" and (beat.message or "").startswith("CRASH:")


def _remember_work(hot: Hot, beat: Beat) -> None:
    hot.iteration = hot.iteration if beat.iteration_count is None else int(beat.iteration_count)
    hot.message_hash = hash_of(beat.message) if beat.message else hot.message_hash
    hot.prompts_hash = _hash_list(beat.prompt_hashes) if beat.prompt_hashes else hot.prompts_hash
    hot.calls_hash = _hash_calls(beat) if beat.tool_call_log else hot.calls_hash
    hot.memory_mb = hot.memory_mb if beat.memory_mb is None else beat.memory_mb
    hot.instance = hot.instance if beat.by_runner else beat.instance or hot.instance


def _remember_declared(hot: Hot, beat: Beat) -> None:
    hot.declared_interval = beat.interval or hot.declared_interval
    hot.declared_progress_timeout = beat.progress_timeout or hot.declared_progress_timeout


def _declared_limit(hot: Hot, beat: Beat, limits: AgentLimits, today: date) -> int | None:
    """The client's own daily limit. It cannot raise it while the agent is held: only a person ends a hold."""
    known = hot.cost_limit
    if beat.cost_limit_usd is None:
        return known
    declared = round(beat.cost_limit_usd * MICRO)
    is_raise = known is not None and declared > known
    return known if is_raise and on_hold(hot, budgets_of(hot, limits, today), limits) else declared


def _remember_wait(hot: Hot, beat: Beat) -> None:
    """A wait lasts until its time, a null, or the next progress; without a time, for a day, however often repeated.

    Its end is kept after it is over, because the progress clock continues from there. Times more than a day away, in
    either direction, are cut: no database stores year 1 in another time zone.
    """
    at = hot.last_beat_at
    if at is None:
        return
    if isinstance(beat.waiting, Waiting):
        what = beat.waiting.for_[:100]
        begun = hot.waiting_until if what == hot.waiting_for else None
        until = beat.waiting.until or begun or at + MAX_WAIT
        hot.waiting_for, hot.waiting_until = what, max(at - MAX_WAIT, min(until, at + MAX_WAIT))
    elif beat.waiting is None or (beat.progress and not beat.by_runner) or beat.status == "shutdown":
        hot.waiting_for, hot.waiting_until = "", min(hot.waiting_until, at) if hot.waiting_until else None


def _remember_runner(hot: Hot, beat: Beat, source: str) -> None:
    """A runner's first `error` heartbeat lacks the restart fields, so the last known target stays."""
    if beat.restart_type:
        hot.restart_type, hot.restart_target = beat.restart_type, _target_name(hot, beat)
        hot.runner, hot.runner_at = source, hot.last_beat_at
    elif beat.container_id and not hot.restart_type:
        hot.restart_type, hot.restart_target = "docker", beat.container_id
    if not beat.is_blind:
        hot.runner_down = beat.status == "error" and says_down(hot, beat)
    if beat.intent in intents.HOLDS:
        hot.held = True


def _release(hot: Hot, beat: Beat) -> None:
    """An agent that a person stopped and that reports again was started by somebody."""
    if beat.status != "shutdown" and not says_down(hot, beat) and (not beat.by_runner or _saw_it_stopped(beat)):
        hot.held = False


def says_down(hot: Hot, beat: Beat) -> bool:
    """Whether a runner says that the target is not running, with or without the restart fields."""
    message = beat.message or ""
    by_name = message.startswith(f"{hot.restart_target or beat.agent} is not responding")
    return by_name or (beat.by_runner and message.startswith(RUNNER_SAYS_DOWN))


def _saw_it_stopped(beat: Beat) -> bool:
    """Our runner says `ok` only after it saw the target stopped, then running; others may not have stopped it yet."""
    return beat.status == "ok" and (beat.sdk or "").endswith(" runner")


# 7. Check budgets


def budgets_of(hot: Hot, limits: AgentLimits, today: date) -> list[budgets.Budget]:
    """The agent's own budgets and its project's month, as far as they have a limit."""
    daily = limits.daily_budget if limits.daily_budget is not None else hot.cost_limit
    own_limits = budgets.Limits(day=daily, run=limits.run_budget, tokens=limits.daily_tokens)
    own = budgets.agent_budgets(hot, own_limits, today)
    if limits.others is None:
        return own
    cost = limits.others.cost + spent_in(hot, limits.others.first)
    return [*own, budgets.month_budget(replace(limits.others, cost=cost))]


def spent_in(hot: Hot, first: date) -> int:
    """Micro-dollars in the month that begins on `first`, if the row holds that month."""
    return hot.cost_month if hot.month == first else 0


def _nears_a_budget(used: Sequence[budgets.Budget], spent: Spent, limits: AgentLimits) -> bool:
    """Whether it spent from a nearly used up budget, or from a month, which only a look at all agents can judge."""
    if not (spent.cost or spent.tokens):
        return False
    return (limits.monthly and spent.cost > 0) or any(budget.severity for budget in used)


def on_hold(hot: Hot, used: Sequence[budgets.Budget], limits: AgentLimits) -> bool:
    """Whether the client is told to stop: the review says so, or this very heartbeat exceeded a budget."""
    if hot.hold or limits.paused:
        return hot.hold
    return budgets.require_hold(used, hot.lifted)


# 8. Bring the review forward


def _bring_review_forward(hot: Hot, limits: AgentLimits) -> None:
    """Only ever earlier: an early review costs little, but an index update would slow down every heartbeat."""
    if limits.paused:
        return
    look_at = _deadline(hot, limits)
    if look_at is not None and (hot.check_at is None or look_at < hot.check_at):
        hot.check_at = look_at


def _deadline(hot: Hot, limits: AgentLimits) -> datetime | None:
    running = (clocks.alive(limits.clocks, hot), clocks.progress(limits.clocks, hot))
    return min([clock.deadline for clock in running if clock], default=None)


# 9. Pick the warning to deliver


def _next_warning(hot: Hot, beat: Beat) -> tuple[str | None, str | None]:
    """The first open warning this client has not received. Runners cannot act on warnings, so they get none."""
    if not hot.warnings or beat.by_runner or beat.status == "shutdown":
        return None, None
    delivered = hot.warned.split()
    for key, reason in hot.warnings:
        if key not in delivered:
            hot.warned = " ".join([*delivered[-MAX_WARNED:], key])
            return WARNINGS.get(ClientWarning.decode(key).kind), reason
    return None, None
