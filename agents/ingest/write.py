"""One transaction of heartbeats: lock and read the agents, fold each heartbeat, write what changed, answer.

Write first, think later: nothing slower than these three statements happens within a heartbeat's request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from django.conf import settings
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, OperationalError, transaction
from django.urls import reverse
from django.utils import timezone

from agents.domain import pricing
from agents.domain.budgets import Month
from agents.domain.clocks import Settings
from agents.domain.heartbeat import Beat
from agents.domain.hot_row import AgentLimits, Answer, FoldResult, Hot, IngestTime
from agents.ingest import registration
from agents.ingest.fold import budgets_of, fold, on_hold, spent_in
from agents.storage import monthly_spend, statements
from teams.auth import Caller
from teams.errors import ApiError

log = structlog.get_logger(__name__)

TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Received:
    """A beat as it came in. `source` tells reporters apart; with `detail` false sums are kept, contents are not.

    `ahead` is how far the sender's clock is ahead of ours, as far as its request tells.
    """

    caller: Caller
    beat: Beat
    received_at: datetime
    source: str
    detail: bool = True
    ahead: timedelta = timedelta(0)

    @property
    def spent_at(self) -> datetime:
        return pricing.spent_at(self.beat, self.received_at, self.ahead)


Outcome = Answer | ApiError


def busy() -> ApiError:
    return ApiError(503, "busy", "The server cannot store heartbeats right now; send it again.", retry_after=2)


def commit(received: Sequence[Received]) -> list[Outcome]:
    """Store beats in one transaction; when that fails, each in its own, so that a poisoned one fails alone."""
    try:
        return _store(received)
    except Exception as error:
        if len(received) > 1 and _is_down(error):
            return [_refused(error) for _ in received]
        return [outcome for one in received for outcome in _commit_alone(one)]


def _commit_alone(received: Received) -> list[Outcome]:
    """One beat, tried again: after a deadlock, or after a copy of it won the race and is now there to be seen."""
    for attempt in range(TRIES):
        try:
            return _store([received])
        except DataError as error:
            log.warning("heartbeat refused by the database", agent=received.beat.agent, error=str(error))
            return [ApiError(422, "invalid", "The heartbeat holds a value that cannot be stored.")]
        except DatabaseError as error:
            if attempt == TRIES - 1 or _is_down(error):
                return [_refused(error)]
        except Exception:
            log.exception("a heartbeat could not be stored", agent=received.beat.agent)
            return [ApiError(500, "server_error", "This server made a mistake with this heartbeat; see its log.")]
    raise AssertionError("unreachable")


def _is_down(error: Exception) -> bool:
    """Whether the database itself is away or out of step, so that trying again at once would only take longer."""
    if isinstance(error, OperationalError):
        return getattr(error.__cause__, "sqlstate", "") not in ("40P01", "40001")
    return isinstance(error, DatabaseError | InterfaceError) and not isinstance(error, IntegrityError | DataError)


def _refused(error: Exception) -> ApiError:
    log.error("heartbeats could not be stored", error=str(error))
    return busy()


def _store(received: Sequence[Received]) -> list[Outcome]:
    with transaction.atomic():
        now = timezone.now()
        found, refused = _lock(received, now)
        writing = _Writing(now, _months(received, now))
        for index, one in enumerate(received):
            if index in found:
                writing.add(index, one, found[index])
        if writing.hot:
            statements.update(writing.hot.values())
        if writing.beats:
            statements.insert(writing.beats)
    return [writing.outcomes[index] if index in found else refused[index] for index in range(len(received))]


def _months(received: Sequence[Received], now: datetime) -> dict[int, Month]:
    """What the projects that have a monthly budget spent of it before these beats. Read after their agents' locks."""
    callers = {one.caller.project_id: one.caller for one in received if one.caller.monthly}
    firsts = {pk: now.astimezone(_zone(caller.time_zone)).date().replace(day=1) for pk, caller in callers.items()}
    return monthly_spend.committed(firsts) if firsts else {}


def _lock(received: Sequence[Received], now: datetime) -> tuple[dict[int, statements.Found], dict[int, ApiError]]:
    """Lock the agents of all beats, making those that report for the first time."""
    wanted = [
        {"i": i, "project_id": one.caller.project_id, "name": one.beat.agent, "beat_id": one.beat.beat_id}
        for i, one in enumerate(received)
    ]
    sent = min(one.spent_at for one in received).astimezone(UTC).date()
    found = statements.lock(wanted, now.date(), sent)
    unknown = [index for index in range(len(received)) if index not in found]
    refused: dict[int, ApiError] = {}
    if unknown:
        new = {index: (received[index].caller, received[index].beat) for index in unknown}
        refused = registration.register(new, now)
        found = statements.lock(wanted, now.date(), sent)
    return _with_place(received, found, refused, now), refused


def _with_place(
    received: Sequence[Received], found: dict[int, statements.Found], refused: dict[int, ApiError], now: datetime
) -> dict[int, statements.Found]:
    """Those whose agents have a place in their team's plan; the others are refused."""
    out = [index for index, one in found.items() if one.over_plan]
    for index in out:
        refused[index] = registration.turn_away(received[index].caller, received[index].beat.agent, now)
    return {index: one for index, one in found.items() if index not in refused}


class _Writing:
    """One transaction's rows, folded beat by beat in the order of arrival."""

    def __init__(self, now: datetime, months: dict[int, Month]) -> None:
        self.now = now
        self.months = months
        self.hot: dict[int, Hot] = {}
        self.beats: list[dict[str, Any]] = []
        self.outcomes: dict[int, Answer] = {}
        self._seen: dict[tuple[int, str], Answer] = {}

    def add(self, index: int, one: Received, found: statements.Found) -> None:
        agent_id, beat_id = found.hot.agent_id, one.beat.beat_id
        if found.stored_before:
            self.outcomes[index] = self._again(one, found)
        elif beat_id and (agent_id, beat_id) in self._seen:
            self.outcomes[index] = self._seen[agent_id, beat_id]
        else:
            answer = self._fold(one, found)
            self.outcomes[index] = answer
            if beat_id:
                self._seen[agent_id, beat_id] = answer

    def _fold(self, one: Received, found: statements.Found) -> Answer:
        hot = self.hot.setdefault(found.hot.agent_id, found.hot)
        zone, at = _zone(one.caller.time_zone), one.spent_at
        moment = IngestTime(one.received_at, self.now, self.now.astimezone(zone).date())
        # Without a time of its own it is of the day on which it is stored.
        day = moment.today if one.beat.sent_at is None else at.astimezone(zone).date()
        spent = pricing.spent(one.beat, at, day, one.caller.prices)
        others = self._others(one.caller, hot)
        folded = fold(hot, one.beat, spent, _set(found, one.caller, others), moment, one.source)
        if others is not None:
            self.months[one.caller.project_id] = replace(others, cost=others.cost + spent_in(hot, others.first))
        answer = _answer(hot, folded.hold, folded.warning, folded.reason)
        self.beats.append(_row(hot.agent_id, one, folded, answer, self.now))
        return answer

    def _others(self, caller: Caller, hot: Hot) -> Month | None:
        month = self.months.get(caller.project_id)
        return month and replace(month, cost=month.cost - spent_in(hot, month.first))

    def _again(self, one: Received, found: statements.Found) -> Answer:
        """The answer of a beat that is stored already; whether to hold is said as it is now."""
        hot = self.hot.get(found.hot.agent_id, found.hot)
        today = self.now.astimezone(_zone(one.caller.time_zone)).date()
        given = _set(found, one.caller, self._others(one.caller, hot))
        return _answer(hot, on_hold(hot, budgets_of(hot, given, today), given), **(found.answer_before or {}))


def _set(found: statements.Found, caller: Caller, others: Month | None) -> AgentLimits:
    grace = found.grace if found.grace is not None else caller.default_grace
    clocks = Settings(found.interval, grace, found.progress_timeout)
    own = (found.daily_budget, found.run_budget, found.daily_tokens)
    return AgentLimits(clocks, *own, found.paused, caller.monthly, others)


def _row(agent_id: int, one: Received, folded: FoldResult, answer: Answer, now: datetime) -> dict[str, Any]:
    beat, spent = one.beat, folded.spent
    return {
        "agent_id": agent_id,
        "day": now.date(),
        "received_at": one.received_at,
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
        "content": _content(one, folded),
        "answer": {"warning": answer.warning, "reason": answer.reason} if answer.warning else None,
    }


def _content(one: Received, folded: FoldResult) -> dict[str, Any] | None:
    # What went wrong is kept at any rate, and so is what was used: prices change, tokens do not.
    kept = one.beat.content() if one.detail or one.beat.status == "error" else None
    used = {"usage": one.beat.usage, "prices": folded.spent.prices} if folded.spent.prices else {}
    found = {**(kept or {}), **used, **({"note": folded.note} if folded.note else {})}
    return found or None


def _answer(hot: Hot, hold: bool, warning: str | None = None, reason: str | None = None) -> Answer:
    incident = None
    if hot.incident_id:
        incident = {"id": hot.incident_id, "kind": hot.incident_kind, "url": _incident_url(hot.incident_id)}
    return Answer(hot.agent_id, warning, reason, incident, hold)


@lru_cache(maxsize=4096)
def _incident_url(incident_id: int) -> str:
    return str(settings.BASE_URL) + reverse("admin:agents_incident_change", args=[incident_id])


@lru_cache(maxsize=512)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
