"""One transaction of heartbeats: lock and read the agents, fold each heartbeat, write what changed, answer.

Write first, think later: a heartbeat's request runs nothing slower than these two statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, OperationalError, transaction
from django.utils import timezone

from agents.domain import pricing
from agents.domain.budgets import Month
from agents.domain.clocks import Settings
from agents.domain.heartbeat import Beat
from agents.domain.hot_row import AgentLimits, Answer, FoldResult, Hot, IngestTime, Later
from agents.domain.wire import sender_clock
from agents.ingest import bindings, registration
from agents.ingest.fold import budgets_of, fold, on_hold, spent_in
from agents.storage import hot_rows, monthly_spend
from agents.storage.hot_rows import LockedAgent
from teams.auth import Caller
from teams.errors import ApiError
from teams.links import absolute

log = structlog.get_logger(__name__)

TRIES: Final = 3
# Characters of an error's message that are stored even beyond the day's storage.
MAX_LAST_WORDS: Final = 500
# PostgreSQL's deadlock and serialization failure: the database is up and trying again helps.
RETRYABLE: Final = ("40P01", "40001")


@dataclass(frozen=True, slots=True)
class Received:
    """A heartbeat as received. `source` tells reporters apart; without `detail` only sums are stored, not contents.

    `ahead` is how far the sender's clock is ahead of ours, as far as the request shows.
    """

    caller: Caller
    beat: Beat
    received_at: datetime
    source: str
    _: KW_ONLY
    detail: bool = True
    ahead: timedelta = timedelta(0)

    @property
    def spent_at(self) -> datetime:
        return sender_clock.made_at(self.beat, self.received_at, self.ahead)


Outcome = Answer | ApiError


def busy() -> ApiError:
    return ApiError(503, "busy", "The server cannot store heartbeats right now. Send it again.", retry_after=2)


def failed() -> ApiError:
    return ApiError(500, "server_error", "The server failed to process this heartbeat. See its log.")


# Retries


def commit(received: Sequence[Received]) -> Sequence[Outcome | Later]:
    """Store heartbeats in one transaction; if that fails, each in its own, so a poisoned one fails alone."""
    try:
        return _store(received)
    except Exception as error:
        if len(received) > 1 and _is_down(error):
            return [unavailable(error)] * len(received)
        return [_commit_alone(heartbeat) for heartbeat in received]


def commit_here(received: Sequence[Received]) -> list[Outcome]:
    """Store heartbeats in the caller's transaction, registering new agents. Those of a locked agent are refused."""
    outcomes = list(commit(received))
    unknown = [index for index, outcome in enumerate(outcomes) if outcome is Later.UNKNOWN]
    refusals = registration.register([(received[i].caller, received[i].beat) for i in unknown], timezone.now())
    for index, refusal in zip(unknown, refusals, strict=True):
        outcomes[index] = refusal or commit([received[index]])[0]
    return [busy() if isinstance(outcome, Later) else outcome for outcome in outcomes]


def _commit_alone(received: Received) -> Outcome | Later:
    """Retry one heartbeat: after a deadlock, or when a concurrent copy won and can now be found."""
    for attempt in range(1, TRIES + 1):
        try:
            (outcome,) = _store([received])
        except DataError as error:
            log.warning("heartbeat refused by the database", agent=received.beat.agent, error=str(error))
            return ApiError(422, "invalid", "The heartbeat contains a value that cannot be stored.")
        except DatabaseError as error:
            if attempt == TRIES or _is_down(error):
                return unavailable(error)
        except Exception:
            log.exception("a heartbeat could not be stored", agent=received.beat.agent)
            return failed()
        else:
            return outcome
    raise AssertionError("unreachable")


def _is_down(error: Exception) -> bool:
    """Whether the database is unreachable or broken, so that an immediate retry would only take longer."""
    if isinstance(error, OperationalError):
        return getattr(error.__cause__, "sqlstate", "") not in RETRYABLE
    return isinstance(error, DatabaseError | InterfaceError) and not isinstance(error, IntegrityError | DataError)


def unavailable(error: Exception) -> ApiError:
    log.error("heartbeats could not be stored", error=str(error))
    return busy()


# The transaction


def _store(received: Sequence[Received]) -> list[Outcome | Later]:
    with transaction.atomic():
        now = timezone.now()
        agents, others = _lock(received, now)
        if agents:
            # After the locks: another transaction's spend is visible only then.
            batch = _Batch(now, _months(received, now))
            for index, heartbeat in enumerate(received):
                if index in agents:
                    batch.add(index, heartbeat, agents[index])
            batch.write()
            others |= batch.outcomes
    return [others[index] for index in range(len(received))]


def _months(received: Sequence[Received], now: datetime) -> dict[int, Month]:
    """What projects with a monthly budget had spent of it before these heartbeats."""
    callers = {each.caller.project_id: each.caller for each in received if each.caller.monthly}
    firsts = {pk: _date(now, caller).replace(day=1) for pk, caller in callers.items()}
    return monthly_spend.committed(firsts) if firsts else {}


def _lock(received: Sequence[Received], now: datetime) -> tuple[dict[int, LockedAgent], dict[int, Outcome | Later]]:
    """Lock the agents of heartbeats by index; and the outcomes of those that are refused or not there yet."""
    others: dict[int, Outcome | Later] = {**_for_others(received)}
    wanted = [
        {"i": i, "project_id": each.caller.project_id, "name": each.beat.agent, "beat_id": each.beat.beat_id}
        for i, each in enumerate(received)
        if i not in others
    ]
    if not wanted:
        return {}, others
    oldest = min(each.spent_at for each in received).astimezone(UTC).date()
    agents = hot_rows.lock(wanted, now.date(), oldest)
    if len(agents) < len(wanted):
        others |= _not_locked([each for each in wanted if each["i"] not in agents])
    others |= _over_plan(received, agents, now) | _not_owned(received, agents, now)
    return {index: agent for index, agent in agents.items() if index not in others}, others


def _for_others(received: Sequence[Received]) -> dict[int, ApiError]:
    """Refusals of keys for one agent that report as another."""
    return {
        index: bindings.key_refusal(each.caller, each.beat.agent)
        for index, each in enumerate(received)
        if bindings.is_for_another(each.caller, each.beat.agent)
    }


def _not_owned(
    received: Sequence[Received], agents: dict[int, LockedAgent], now: datetime
) -> dict[int, Outcome | Later]:
    """Heartbeats under names that their key does not own: refusals, or UNKNOWN where the name is to be bound to it."""
    owners = {i: agent.owner for i, agent in agents.items() if not bindings.owns(received[i].caller, agent.owner)}
    if not owners:
        return {}
    kept = bindings.in_force((owner for owner in owners.values() if owner is not None), now)
    return {
        index: bindings.name_refusal(received[index].beat.agent) if owner in kept else Later.UNKNOWN
        for index, owner in owners.items()
    }


def _not_locked(wanted: list[dict[str, Any]]) -> dict[int, Outcome | Later]:
    existing = hot_rows.existing(wanted)
    return {each["i"]: Later.LOCKED if each["i"] in existing else Later.UNKNOWN for each in wanted}


def _over_plan(
    received: Sequence[Received], agents: dict[int, LockedAgent], now: datetime
) -> dict[int, Outcome | Later]:
    """Refusals for agents over their team's agent limit."""
    return {
        index: registration.turn_away(received[index].caller, received[index].beat.agent, now)
        for index, agent in agents.items()
        if agent.over_plan
    }


class _Batch:
    """One transaction's rows, folded heartbeat by heartbeat in order of arrival."""

    def __init__(self, now: datetime, months: dict[int, Month]) -> None:
        self.now = now
        self.months = months
        self.hot: dict[int, Hot] = {}
        self.beats: list[dict[str, Any]] = []
        self.unread: set[int] = set()
        self.outcomes: dict[int, Answer] = {}
        self._answered: dict[tuple[int, str], Answer] = {}

    def add(self, index: int, received: Received, agent: LockedAgent) -> None:
        """Fold a heartbeat, unless it is stored already or a copy of another one in this batch."""
        copy_of = (agent.hot.agent_id, received.beat.beat_id) if received.beat.beat_id else None
        if agent.stored_before:
            self.outcomes[index] = self._answer_again(received, agent)
        elif copy_of in self._answered:
            self.outcomes[index] = self._answered[copy_of]
        else:
            self.outcomes[index] = self._fold(received, agent)
            if copy_of:
                self._answered[copy_of] = self.outcomes[index]

    def write(self) -> None:
        if self.beats:
            unread = [{"agent_id": agent_id} for agent_id in sorted(self.unread)]
            hot_rows.write(hot_rows.Changes(list(self.hot.values()), self.beats, unread))

    def _fold(self, received: Received, agent: LockedAgent) -> Answer:
        caller = received.caller
        # One row per agent: its second heartbeat in the batch builds on the first.
        hot = self.hot.setdefault(agent.hot.agent_id, agent.hot)
        moment = IngestTime(received_at=received.received_at, stored_at=self.now, today=_date(self.now, caller))
        others = self._others_month(caller, hot)
        limits = _limits(agent, caller, others)
        folded = fold(hot, received.beat, _spent(received, moment), limits, moment, received.source)
        if others is not None:
            self.months[caller.project_id] = replace(others, cost=others.cost + spent_in(hot, others.first))
        answer = _answer(hot, hold=folded.hold, warning=folded.warning, reason=folded.reason)
        if folded.unread:
            self.unread.add(hot.agent_id)
        self.beats.append(_row(hot.agent_id, received, folded, answer, self.now))
        return answer

    def _others_month(self, caller: Caller, hot: Hot) -> Month | None:
        """What the project's other agents spent this month."""
        month = self.months.get(caller.project_id)
        return month and replace(month, cost=month.cost - spent_in(hot, month.first))

    def _answer_again(self, received: Received, agent: LockedAgent) -> Answer:
        """The answer to a heartbeat that is stored already; `hold` is current."""
        hot = self.hot.get(agent.hot.agent_id, agent.hot)
        limits = _limits(agent, received.caller, self._others_month(received.caller, hot))
        used = budgets_of(hot, limits, _date(self.now, received.caller))
        return _answer(hot, hold=on_hold(hot, used, limits), **(agent.answer_before or {}))


# Values for one heartbeat


def _spent(received: Received, moment: IngestTime) -> pricing.Spent:
    at = received.spent_at
    # Without a time of its own it belongs to the day on which it is stored.
    day = moment.today if received.beat.sent_at is None else _date(at, received.caller)
    return pricing.spent(received.beat, at, day, received.caller.prices)


def _limits(agent: LockedAgent, caller: Caller, others: Month | None) -> AgentLimits:
    grace = agent.grace if agent.grace is not None else caller.default_grace
    return AgentLimits(
        clocks=Settings(interval=agent.interval, grace=grace, progress_timeout=agent.progress_timeout),
        daily_budget=agent.daily_budget,
        run_budget=agent.run_budget,
        daily_tokens=agent.daily_tokens,
        paused=agent.paused,
        armed=agent.armed,
        labels=agent.labels,
        monthly=caller.monthly,
        others=others,
    )


def _row(agent_id: int, received: Received, folded: FoldResult, answer: Answer, now: datetime) -> dict[str, Any]:
    beat, spent = received.beat, folded.spent
    return {
        "agent_id": agent_id,
        "day": now.date(),
        "received_at": received.received_at,
        "spent_at": spent.at,
        "beat_id": beat.beat_id,
        "status": beat.status,
        "progress": folded.progress,
        "tokens": spent.tokens,
        "cost": spent.cost,
        "priced": spent.priced,
        "unpriced": spent.unpriced_tokens,
        "tool_calls": beat.calls,
        "iteration": beat.iteration_count,
        "memory_mb": beat.memory_mb,
        "gap": folded.gap,
        "content": _content(received, folded),
        "answer": {"warning": answer.warning, "reason": answer.reason} if answer.warning else None,
    }


def _content(received: Received, folded: FoldResult) -> dict[str, Any] | None:
    # Errors and usage are stored even beyond the plan's rate: prices change later, tokens do not.
    kept = _details(received)
    used = {"usage": received.beat.usage, "prices": folded.spent.prices} if folded.spent.prices else {}
    concluded = {name: text for name, text in (("note", folded.note), ("claimed", folded.claimed)) if text}
    return {**(kept or {}), **used, **concluded} or None


def _details(received: Received) -> dict[str, Any] | None:
    """All, or of an error that came beyond the day's storage the message only: it is what an incident shows."""
    beat, is_error = received.beat, received.beat.status == "error"
    if received.detail or (is_error and received.caller.keeps_details):
        return beat.content()
    return {"message": beat.message[:MAX_LAST_WORDS]} if is_error and beat.message else None


def _answer(hot: Hot, *, hold: bool, warning: str | None = None, reason: str | None = None) -> Answer:
    incident = None
    if hot.incident_id:
        incident = {"id": hot.incident_id, "kind": hot.incident_kind, "url": _incident_url(hot.incident_id)}
    why = reason or (hot.hold_reason if hold else "") or None
    return Answer(agent_id=hot.agent_id, warning=warning, reason=why, incident=incident, hold=hold)


@lru_cache(maxsize=4096)
def _incident_url(incident_id: int) -> str:
    return absolute("admin:agents_incident_change", incident_id)


def _date(at: datetime, caller: Caller) -> date:
    """The date in the project's time zone."""
    return at.astimezone(_zone(caller.time_zone)).date()


@lru_cache(maxsize=512)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
