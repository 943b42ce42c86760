"""How often one key may call: fixed minutes, counted per process, the numbers from the plan.

A heartbeat over the plan's rate is still taken, without its detail: clients do not wait for `Retry-After`, they
drop what they had. Only a flood is refused, and management calls.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from billing.limits import plan_of
from billing.plans import Plan
from teams.auth import Caller
from teams.errors import ApiError

if TYPE_CHECKING:  # the module itself imports this one, through DRF's settings
    from rest_framework.views import APIView

MINUTE: Final = 60
FLOOD_FACTOR: Final = 10


class Meter:
    """What each key used of the current minute. Two threads may lose a count between them; that is not worth a lock.

    Keys are told by their prefix, and only those that authenticated are counted; all is forgotten each minute.
    """

    def __init__(self) -> None:
        self._minute = 0
        self._used: dict[str, int] = {}
        self._plans: dict[str, Plan] = {}

    def add(self, caller: Caller, what: str, count: int, now: datetime) -> tuple[int, int]:
        """Count `count` uses. Answers how many there were this minute, these included, and the plan's limit."""
        limit = self.plan(caller, now).requests_per_minute
        name = f"{caller.prefix}/{what}"
        used = self._used[name] = self._used.get(name, 0) + count
        return used, limit

    def plan(self, caller: Caller, now: datetime) -> Plan:
        """The plan that a key's team was on when the key first called in this minute."""
        self._turn(int(now.timestamp()) // MINUTE)
        plan = self._plans.get(caller.prefix)
        if plan is None:
            plan = self._plans[caller.prefix] = plan_of(caller.team_id)
        return plan

    def _turn(self, minute: int) -> None:
        if minute != self._minute:
            self._used, self._plans, self._minute = {}, {}, minute


_meter = Meter()


def plan_for(caller: Caller, now: datetime, meter: Meter = _meter) -> Plan:
    """The plan of a key's team, at most a minute old: for what must not ask the database each time."""
    return meter.plan(caller, now)


def count_beats(caller: Caller, count: int, now: datetime, meter: Meter = _meter) -> bool:
    """Count heartbeats of a key. Answers whether their detail is kept: not beyond the plan's requests a minute.

    Raises ApiError 429 beyond ten times that.
    """
    used, limit = meter.add(caller, "beats", count, now)
    if used > limit * FLOOD_FACTOR:
        raise _refusal(f"More than {limit * FLOOD_FACTOR} heartbeats in a minute from one key.", now)
    return used <= limit


def count_call(caller: Caller, now: datetime, meter: Meter = _meter) -> None:
    """Count a management call of a key. Raises ApiError 429 beyond the plan's requests a minute."""
    used, limit = meter.add(caller, "calls", 1, now)
    if used > limit:
        raise _refusal(f"Your plan allows {limit} calls a minute with one key.", now)


def _refusal(why: str, now: datetime) -> ApiError:
    wait = MINUTE - int(now.timestamp()) % MINUTE
    return ApiError(429, "rate_limited", f"{why} Try again in {wait} s.", retry_after=wait)


class PlanThrottle(BaseThrottle):
    """Every view that does not count for itself."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        if isinstance(request.auth, Caller):
            count_call(request.auth, timezone.now())
        return True
