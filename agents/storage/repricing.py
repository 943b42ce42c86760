"""Prices stored heartbeats again, after the price list or a project's own prices changed.

Tokens are kept, so their money can be worked out anew: by the prices of the time of each call, as the list that is
installed now has them. What clients claimed stays as it was. Agents are locked one after the other, a thousand
heartbeats at a time, and each step changes heartbeats and sums together: a stop in between loses nothing, and another
run goes on. Sums by minute, hour and day are summed up afresh from the heartbeats in the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from django.db import transaction
from django.db.models import Min, Q

from agents.domain import pricing
from agents.domain.heartbeat import Usage
from agents.domain.pricing import Spent, Stored
from agents.models import Agent, AgentState, Heartbeat, Incident
from agents.storage import rollups, statements
from teams import prices
from teams.models import Project
from teams.prices import Override

CHUNK: Final = 1_000
MONEY: Final = ("cost", "priced", "unpriced")


@dataclass(slots=True)
class Changed:
    """Of one agent: heartbeats looked at and changed; micro-dollars and tokens without a price, before and after."""

    agent: Agent
    read: int = 0
    changed: int = 0
    before: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MONEY, 0))
    after: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MONEY, 0))


@dataclass(frozen=True, slots=True)
class Again:
    """One heartbeat's money as it was stored and as it is now, and by how much it differs."""

    beat: Heartbeat
    stored: Stored
    spent: Spent
    more: Mapping[str, int]

    @property
    def is_other(self) -> bool:
        return any(self.more.values()) or tuple(self.stored.prices) != tuple(self.spent.prices)


def reprice(project: Project, since: datetime, now: datetime, *, dry: bool = False) -> Iterator[Changed]:
    """Price the project's heartbeats since then again, agent by agent. With `dry` nothing is written."""
    overrides, zone = prices.overrides(project.prices), ZoneInfo(project.time_zone)
    for agent in Agent.objects.filter(project=project).order_by("pk"):
        found = Changed(agent)
        last: int | None = 0
        while last is not None:
            with transaction.atomic():
                last = _step(found, since, last, overrides, zone, None if dry else now)
        if found.changed and not dry:
            rollups.sum_up([agent.pk], _whole_from(agent, since), now, now)
        yield found


def _whole_from(agent: Agent, since: datetime) -> datetime:
    """Of hours before the oldest day kept, other heartbeats may be deleted already: their sums are left alone."""
    first = Heartbeat.objects.filter(agent=agent).aggregate(first=Min("day"))["first"]
    is_all = first <= agent.created_at.astimezone(UTC).date()
    return since if is_all else max(since, datetime.combine(first, time.min, UTC))


def _step(
    found: Changed, since: datetime, after: int, overrides: Sequence[Override], zone: ZoneInfo, now: datetime | None
) -> int | None:
    """The next thousand after that id, only looked at without `now`. Returns the last id, None after the last ones."""
    state = AgentState.objects.select_for_update().get(agent=found.agent)
    rows = Heartbeat.objects.filter(agent=found.agent, id__gt=after, day__gte=since.astimezone(UTC).date())
    beats = list(rows.filter(spent_at__gte=since, tokens__gt=0).order_by("id").defer("answer")[:CHUNK])
    again = [one for beat in beats if (one := _again(beat, overrides, zone)) is not None]
    others = [one for one in again if one.is_other]
    _count(found, again, others)
    if others and now is not None:
        _write(state, others, now)
    return beats[-1].pk if len(beats) == CHUNK else None


def _again(beat: Heartbeat, overrides: Sequence[Override], zone: ZoneInfo) -> Again | None:
    """A second copy of a beat has no prices, for it counted nothing; nor has one that named no model."""
    content = beat.content or {}
    if not content.get("prices"):
        return None
    usage = msgspec.convert(content["usage"], list[Usage])
    stored = Stored(usage, content["prices"], beat.cost, beat.unpriced)
    day = beat.spent_at.astimezone(zone).date()
    spent = pricing.spent_again(stored, beat.spent_at, day, overrides)
    more = {
        "cost": spent.cost - beat.cost,
        "priced": spent.priced - beat.priced,
        "unpriced": spent.unpriced_tokens - beat.unpriced,
    }
    return Again(beat, stored, spent, more)


def _count(found: Changed, again: Sequence[Again], others: Sequence[Again]) -> None:
    found.read += len(again)
    found.changed += len(others)
    for one in again:
        for name in MONEY:
            found.before[name] += getattr(one.beat, name)
            found.after[name] += getattr(one.beat, name) + one.more[name]


def _write(state: AgentState, others: Sequence[Again], now: datetime) -> None:
    for one in others:
        _add_to_row(state, one)
    # What is exceeded, or is no longer, is concluded from the new sums.
    state.check_at = now
    state.save(update_fields=_COLUMNS)
    statements.price([_as_row(one) for one in others])
    _add_to_incidents(state, others)


_COLUMNS: Final = [
    "check_at",
    "unpriced",
    *(f"{name}_{of}" for name in MONEY for of in ("month", "total")),
    *(f"{name}_today" for name in ("cost", "priced")),
    *(f"run_{name}" for name in MONEY),
]


def _as_row(one: Again) -> dict[str, Any]:
    money = {name: getattr(one.beat, name) + one.more[name] for name in MONEY}
    content = {**(one.beat.content or {}), "prices": list(one.spent.prices)}
    return {"id": one.beat.pk, "day": one.beat.day, **money, "content": content}


def _add_to_row(state: AgentState, one: Again) -> None:
    """Each sum of the hot row changes if the heartbeat is part of it, as `fold.py` has it."""
    day, at = one.spent.day, one.spent.at
    sums = ["{}_total"]
    if state.month == day.replace(day=1):
        sums.append("{}_month")
    if state.run_at and at >= state.run_at:
        sums.append("run_{}")
    if state.day == day:
        sums.append("{}_today")
        state.unpriced = _renamed(state.unpriced or {}, one) or None
    for pattern in sums:
        for name in MONEY:
            column = pattern.format(name)
            if column in _COLUMNS:
                setattr(state, column, max(0, getattr(state, column) + one.more[name]))


def _renamed(known: Mapping[str, int], one: Again) -> dict[str, int]:
    """Today's tokens without a price, by model: without what the heartbeat had, with what it has now."""
    left = dict(known)
    loose = one.beat.unpriced - sum((had := pricing.unpriced_of(one.stored)).values())
    for name, tokens in pricing.merged(had, {pricing.UNNAMED: loose} if loose else {}).items():
        place = name if name in left else pricing.OTHERS
        left[place] = left.get(place, 0) - tokens
    return {name: tokens for name, tokens in pricing.merged(left, one.spent.unpriced).items() if tokens > 0}


def _add_to_incidents(state: AgentState, others: Sequence[Again]) -> None:
    """What came in before an incident began is no part of its money, what came in during it is."""
    first = min(one.beat.received_at for one in others)
    touched = Q(resolved_at__isnull=True) | Q(resolved_at__gte=first)
    for incident in (
        Incident.objects.filter(touched, agent=state.agent_id).select_for_update(no_key=True).order_by("pk")
    ):
        end = incident.resolved_at or datetime.max.replace(tzinfo=UTC)
        for one in others:
            at = one.beat.received_at
            place = "{}_before" if at <= incident.opened_at else "{}"
            for name in MONEY if at <= end else ():
                column = place.format(name)
                setattr(incident, column, max(0, getattr(incident, column) + one.more[name]))
        incident.save(update_fields=[*Incident.SPEND, *Incident.SPEND_BEFORE])
