"""Rate limits per API key: fixed one-minute windows, with the plan's limits. Each process counts without asking;
with Redis, the processes exchange their counts (`shared_counts.py`).

A heartbeat over the limit is still accepted, without its detail: clients ignore `Retry-After` and drop what they had.
Only floods of heartbeats and management calls are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from billing.limits import plan_of
from billing.plans import Plan
from teams.auth import Caller
from teams.errors import ApiError

if TYPE_CHECKING:  # importing DRF views imports this module, through its settings
    from rest_framework.views import APIView

MINUTE: Final = 60
FLOOD_FACTOR: Final = 10
# Adds what this process counted since the last exchange in that minute; returns the counts of all processes.
Exchange = Callable[[int, Mapping[str, int]], Mapping[str, int]]


class Meter:
    """Requests per key in the current minute. A race between threads may lose a count; that is not worth a lock.

    Keys are identified by prefix, only authenticated ones are counted, and everything is reset every minute.
    """

    def __init__(self) -> None:
        self._minute = 0
        self._used: dict[str, int] = {}
        self._reported: dict[str, int] = {}
        self._elsewhere: dict[str, int] = {}
        self._plans: dict[str, Plan] = {}

    def add(self, caller: Caller, kind: str, count: int, now: datetime) -> int:
        """Add `count` requests. Returns the requests in this minute, including these, and others' as far as known."""
        self._start_minute(int(now.timestamp()) // MINUTE)
        name = f"{caller.prefix}/{kind}"
        used = self._used[name] = self._used.get(name, 0) + count
        return used + self._elsewhere.get(name, 0)

    def share(self, exchange: Exchange, now: datetime) -> None:
        """Report what was counted here since the last time, and learn what other processes counted."""
        self._start_minute(int(now.timestamp()) // MINUTE)
        minute, used, reported = self._minute, dict(self._used), self._reported
        fresh = {name: count - reported.get(name, 0) for name, count in used.items() if count > reported.get(name, 0)}
        if not fresh:
            return
        totals = exchange(minute, fresh)
        reported.update({name: used[name] for name in fresh})
        # Another minute may have begun meanwhile, with dictionaries of its own.
        if minute == self._minute:
            self._elsewhere.update({name: totals[name] - used[name] for name in fresh})

    def plan(self, caller: Caller, now: datetime) -> Plan:
        """The plan of the key's team when the key was first used in this minute."""
        plan = self.known_plan(caller, now)
        if plan is None:
            plan = self._plans[caller.prefix] = plan_of(caller.team_id)
        return plan

    def known_plan(self, caller: Caller, now: datetime) -> Plan | None:
        """As `plan`, without a query; None if it takes one."""
        self._start_minute(int(now.timestamp()) // MINUTE)
        return self._plans.get(caller.prefix)

    def _start_minute(self, minute: int) -> None:
        if minute != self._minute:
            self._used, self._reported, self._elsewhere, self._plans = {}, {}, {}, {}
            self._minute = minute


of_this_process: Final = Meter()


def plan_for(caller: Caller, now: datetime) -> Plan:
    """The plan of a key's team, at most a minute old: for callers that must not query the database each time."""
    return of_this_process.plan(caller, now)


def known_plan(caller: Caller, now: datetime) -> Plan | None:
    return of_this_process.known_plan(caller, now)


def count_beats(caller: Caller, plan: Plan, count: int, now: datetime, meter: Meter | None = None) -> bool:
    """Count a key's heartbeats. Returns whether to store their detail: only within the plan's requests per minute, and
    while the team has not used up the day's storage.

    Raises ApiError 429 beyond ten times that limit.
    """
    used, limit = (meter or of_this_process).add(caller, "beats", count, now), plan.requests_per_minute
    if used > limit * FLOOD_FACTOR:
        raise _refusal(f"More than {limit * FLOOD_FACTOR} heartbeats per minute from one key.", now)
    return used <= limit and caller.keeps_details


def count_export(caller: Caller, now: datetime) -> None:
    """Count a request of a door, whether heartbeats come of it or not: its body is large, and costs time to read.

    Raises ApiError 429 beyond ten times the plan's requests per minute.
    """
    limit = of_this_process.plan(caller, now).requests_per_minute * FLOOD_FACTOR
    if of_this_process.add(caller, "exports", 1, now) > limit:
        raise _refusal(f"More than {limit} requests per minute from one key.", now)


def count_call(caller: Caller, now: datetime, meter: Meter = of_this_process) -> None:
    """Count a key's management call. Raises ApiError 429 beyond the plan's requests per minute."""
    used, limit = meter.add(caller, "calls", 1, now), meter.plan(caller, now).requests_per_minute
    if used > limit:
        raise _refusal(f"Your plan allows {limit} requests per minute and key.", now)


def _refusal(why: str, now: datetime) -> ApiError:
    wait = MINUTE - int(now.timestamp()) % MINUTE
    return ApiError(429, "rate_limited", f"{why} Try again in {wait} s.", retry_after=wait)


class PlanThrottle(BaseThrottle):
    """The default throttle, for views that do not count requests themselves."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        if isinstance(request.auth, Caller):
            count_call(request.auth, timezone.now())
        return True
