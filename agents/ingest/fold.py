"""What one heartbeat changes in an agent's hot row, and what is answered. Pure: no Django, no clock.

Every decision that needs only the row and the beat is taken here; everything slower waits for the review.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Final

import msgspec

from agents.domain import budgets, clocks, signal_kinds
from agents.domain.heartbeat import Beat, Waiting, hash_of
from agents.domain.hot_row import AgentLimits, FoldResult, Hot, IngestTime
from agents.domain.notes import BLIND, DYING, EXPECTED, RUNNER_SAYS_DOWN, STARTED
from agents.domain.pricing import Spent, merged

# Published clients give up after 5 s and send the same body once more; the second copy of one that was stored late
# or that waits in the same jam must not be counted again.
RESENT_AFTER: Final = timedelta(seconds=4)
RESENT_BEFORE: Final = timedelta(seconds=12)
JAM: Final = 0.25
LATE: Final = 4.0
# Beats of one moment may be stored out of order; one that is older than this says that our clock was set back.
CLOCK_BACK: Final = timedelta(seconds=5)
MAX_WAIT: Final = timedelta(hours=24)
MAX_WARNED: Final = 5
# What a runner that cannot look does not change: it knows nothing better.
LASTING: Final = ("error", "shutdown")
WARNINGS: Final = {kind: traits.client_warning for kind, traits in signal_kinds.TRAITS.items()}
# After its crash beat the published client waits a second for it to get out, and its background beats go on meanwhile.
LAST_BREATH: Final = timedelta(seconds=1.25)


def fold(hot: Hot, beat: Beat, spent: Spent, given: AgentLimits, moment: IngestTime, source: str) -> FoldResult:
    """Change the hot row by one beat and what it spent, and say what to store and answer of it."""
    resent = _is_resent(hot, beat, moment)
    spent = Spent(spent.at, spent.day) if resent else spent
    note = _note(hot, beat, moment.received_at)
    _forget_told(hot, beat, note)
    _count(hot, spent, moment.today)
    _count_run(hot, spent, started=note == STARTED)
    _remember_body(hot, beat, moment, resent=resent)
    progress = not resent and _is_progress(hot, beat)
    hot.beats += 1
    gap = None if note == DYING else _mark_alive(hot, moment.received_at)
    _mark_progress(hot, beat, moment.received_at, progress=progress)
    looks_now = _needs_review(hot, beat, given)
    _remember(hot, beat, source, note)
    found = budgets_of(hot, given, moment.today)
    looks_now = looks_now or _nears_a_budget(found, spent, given)
    _bring_forward(hot, given, moment, now_please=looks_now)
    warning, reason = _warn(hot, beat)
    return FoldResult(spent, progress, warning, reason, note, on_hold(hot, found, given), gap)


def _is_resent(hot: Hot, beat: Beat, moment: IngestTime) -> bool:
    """The second copy of an old client's beat; ours send a `beat_id` and are told apart by it."""
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
    return STARTED if not beat.by_runner and _started_anew(hot, beat) else None


def _started_anew(hot: Hot, beat: Beat) -> bool:
    """Whether the client was started again since its last beat."""
    if _is_another(hot, beat) and (beat.seq or 0) <= 1:
        return True
    went_back = beat.iteration_count is not None and hot.iteration is not None and beat.iteration_count < hot.iteration
    ended = hot.reported == "shutdown" or hot.crashed
    return went_back or (ended and beat.status != "shutdown")


def _is_background(beat: Beat) -> bool:
    """Whether it may come from the thread of an old client that only says that the process is there."""
    return beat.status == "ok" and not (beat.message or beat.instance or beat.by_runner)


def _is_another(hot: Hot, beat: Beat) -> bool:
    """Another process of the agent; a runner beside it has an instance of its own, which says nothing of the agent."""
    return not beat.by_runner and bool(beat.instance) and beat.instance != hot.instance


def _forget_told(hot: Hot, beat: Beat, note: str | None) -> None:
    """A new process knows of no budget, so it is told. A loop was the old one's: told, it would die at its first beat.

    A loop of its own is another signal, and told.
    """
    if note == STARTED:
        hot.warned = " ".join([key for key, _ in hot.warnings or () if _is_loop(key)][-MAX_WARNED:])
    elif _is_another(hot, beat):
        hot.warned = " ".join(filter(_is_loop, hot.warned.split()))


def _is_loop(key: str) -> bool:
    return key.split(":")[1] == signal_kinds.LOOP


def _count(hot: Hot, spent: Spent, today: date) -> None:
    """Add to the day and the month it was spent in, if they are the row's; what came too late for them is in no sum
    but that of ever."""
    if hot.day is None or today > hot.day:
        hot.day, hot.tokens_today, hot.cost_today, hot.priced_today, hot.unpriced = today, 0, 0, 0, None
    month = today.replace(day=1)
    if hot.month is None or month > hot.month:
        hot.month, hot.tokens_month, hot.cost_month, hot.priced_month, hot.unpriced_month = month, 0, 0, 0, 0
    unpriced = spent.unpriced_tokens
    if spent.day == hot.day:
        hot.tokens_today += spent.tokens
        hot.cost_today += spent.cost
        hot.priced_today += spent.priced
        hot.unpriced = merged(hot.unpriced or {}, spent.unpriced) or None
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
    """Money since the client was last started. What an earlier process left to be sent is not this run's."""
    if started and (hot.run_at is None or spent.at > hot.run_at):
        hot.run_at, hot.run_cost, hot.run_priced, hot.run_unpriced = spent.at, 0, 0, 0
    hot.run_at = hot.run_at or spent.at
    if spent.at >= hot.run_at:
        hot.run_cost += spent.cost
        hot.run_priced += spent.priced
        hot.run_unpriced += spent.unpriced_tokens


def _remember_body(hot: Hot, beat: Beat, moment: IngestTime, *, resent: bool) -> None:
    """Beats without sums may come between the two copies; after the second one an equal body is a new beat."""
    if resent:
        hot.body_hash = None
    elif beat.tokens or beat.cost:
        hot.body_hash, hot.body_at, hot.stored_after = beat.body_hash, moment.received_at, moment.waited


def _is_progress(hot: Hot, beat: Beat) -> bool:
    """Evidence of work: said so by our client, else anything new in what old clients send.

    A stuck main loop goes on sending its old counter and its old five prompts, so a re-sent one counts for nothing. Of
    a runner only what its probe says counts: its own words are no work of the agent.
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


def _mark_alive(hot: Hot, at: datetime) -> float | None:
    """The seconds since the last beat; None for the first one, after a goodbye, and where our clock did not go on."""
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


def _needs_review(hot: Hot, beat: Beat, given: AgentLimits) -> bool:
    """Whether the beat brings something to conclude, besides time."""
    return (
        beat.status != hot.reported
        or hot.status not in ("ok", "paused")
        or beat.status in ("error", "shutdown")
        or bool(beat.tool_call_log)
        or bool(beat.message and beat.tokens)
        or beat.waiting is not msgspec.UNSET
    )


def _nears_a_budget(found: Sequence[budgets.Budget], spent: Spent, given: AgentLimits) -> bool:
    """Whether it spent of a budget that is nearly used up, or of one that only a look at all agents can tell of."""
    if not (spent.cost or spent.tokens):
        return False
    return (given.monthly and spent.cost > 0) or any(one.severity for one in found)


def budgets_of(hot: Hot, given: AgentLimits, today: date) -> list[budgets.Budget]:
    """The agent's own, as they stand, and its project's."""
    limit = given.daily_budget if given.daily_budget is not None else hot.cost_limit
    own = budgets.of(hot, budgets.Limits(limit, given.run_budget, given.daily_tokens), today)
    if given.others is None:
        return own
    cost = given.others.cost + spent_in(hot, given.others.first)
    return [*own, budgets.of_month(replace(given.others, cost=cost))]


def spent_in(hot: Hot, first: date) -> int:
    """Micro-dollars in the month of that first day, if it is the row's."""
    return hot.cost_month if hot.month == first else 0


def on_hold(hot: Hot, found: Sequence[budgets.Budget], given: AgentLimits) -> bool:
    """Whether the agent is to stop and ask: the review says so, or this very heartbeat exceeded a budget."""
    if hot.hold or given.paused:
        return hot.hold
    return budgets.holds(found, hot.lifted)


def _limit(hot: Hot, beat: Beat) -> int | None:
    return hot.cost_limit if beat.cost_limit_usd is None else round(beat.cost_limit_usd * 1_000_000)


def _remember(hot: Hot, beat: Beat, source: str, note: str | None) -> None:
    """Keep what the beat said for comparing with the next; what it left out stays as it was."""
    if note not in (EXPECTED, DYING) and not (note == BLIND and hot.reported in LASTING):
        hot.reported = beat.status
        hot.crashed = beat.status == "error" and (beat.message or "").startswith("CRASH:")
    hot.iteration = hot.iteration if beat.iteration_count is None else int(beat.iteration_count)
    hot.message_hash = hash_of(beat.message) if beat.message else hot.message_hash
    hot.prompts_hash = _hash_list(beat.prompt_hashes) if beat.prompt_hashes else hot.prompts_hash
    hot.calls_hash = _hash_calls(beat) if beat.tool_call_log else hot.calls_hash
    hot.memory_mb = hot.memory_mb if beat.memory_mb is None else beat.memory_mb
    hot.instance = hot.instance if beat.by_runner else beat.instance or hot.instance
    hot.declared_interval = beat.interval or hot.declared_interval
    hot.declared_progress_timeout = beat.progress_timeout or hot.declared_progress_timeout
    hot.cost_limit = _limit(hot, beat)
    hot.source = source
    _remember_wait(hot, beat)
    _remember_runner(hot, beat, source)
    if beat.status != "shutdown" and not says_down(hot, beat) and (not beat.by_runner or _saw_it_stopped(beat)):
        # Whoever was stopped and speaks for itself was started by somebody.
        hot.held = False


def _saw_it_stopped(beat: Beat) -> bool:
    """Our runner says `ok` again only of what it saw stopped and then running. Others may just not have stopped it."""
    return beat.status == "ok" and (beat.sdk or "").endswith(" runner")


def _remember_wait(hot: Hot, beat: Beat) -> None:
    """A wait holds until its time, a null, or the next progress; one without a time gets a day, said again or not.

    The time of its end stays, since the progress clock goes on from there. Times more than a day away are cut, those
    of the past too: year 1 in another zone is a time that no database keeps.
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
    """A runner's first `error` beat lacks the restart fields, so the last known target stays."""
    if beat.restart_type:
        hot.restart_type, hot.restart_target = beat.restart_type, beat.restart_target or beat.agent
        hot.runner = source
    elif beat.container_id and not hot.restart_type:
        hot.restart_type, hot.restart_target = "docker", beat.container_id
    if not beat.is_blind:
        hot.runner_down = beat.status == "error" and says_down(hot, beat)


def says_down(hot: Hot, beat: Beat) -> bool:
    """Whether a runner says that the target is not running, with or without the restart fields."""
    message = beat.message or ""
    first = message.startswith(f"{hot.restart_target or beat.agent} is not responding")
    return first or (beat.by_runner and message.startswith(RUNNER_SAYS_DOWN))


def _bring_forward(hot: Hot, given: AgentLimits, moment: IngestTime, *, now_please: bool) -> None:
    """Earlier only: a row met too early costs one look, an index changed at every beat costs every beat."""
    if given.paused:
        return
    look = moment.stored_at if now_please or hot.check_at is None else _deadline(hot, given)
    if look is not None and (hot.check_at is None or look < hot.check_at):
        hot.check_at = look


def _deadline(hot: Hot, given: AgentLimits) -> datetime | None:
    found = [clock.deadline for clock in (clocks.alive(given.clocks, hot), clocks.progress(given.clocks, hot)) if clock]
    return min(found, default=None)


def _warn(hot: Hot, beat: Beat) -> tuple[str | None, str | None]:
    """The first standing warning this client was not told yet. A runner cannot act on one, so it gets none."""
    if not hot.warnings or beat.by_runner or beat.status == "shutdown":
        return None, None
    told = hot.warned.split()
    for key, reason in hot.warnings:
        if key not in told:
            hot.warned = " ".join([*told[-MAX_WARNED:], key])
            return WARNINGS.get(key.split(":")[1]), reason
    return None, None
