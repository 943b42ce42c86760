"""Reprices stored heartbeats after the price list or a project's custom prices changed.

Tokens are stored, so costs can be recalculated with the prices in force at the time of each call, as the installed
price list has them now. Costs that clients reported stay. One agent is locked at a time, for a thousand heartbeats per
step, and each step changes heartbeats and sums together: an interrupted run loses nothing and the next one continues.
In the end, rollups are recalculated from the heartbeats.
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
from agents.storage import json_rows, rollups
from agents.storage.columns import PRICED
from teams import prices
from teams.models import Project
from teams.prices import Override

CHUNK: Final = 1_000
MONEY: Final = ("cost", "priced", "unpriced")


@dataclass(slots=True)
class Changed:
    """One agent's result: heartbeats read and changed, and their cost and unpriced tokens before and after."""

    agent: Agent
    read: int = 0
    changed: int = 0
    before: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MONEY, 0))
    after: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MONEY, 0))


@dataclass(frozen=True, slots=True)
class Repriced:
    """One heartbeat's spend as stored and as recalculated; `more` is the difference."""

    beat: Heartbeat
    stored: Stored
    spent: Spent
    more: Mapping[str, int]

    @property
    def is_changed(self) -> bool:
        return any(self.more.values()) or tuple(self.stored.prices) != tuple(self.spent.prices)


def reprice(project: Project, since: datetime, now: datetime, *, dry: bool = False) -> Iterator[Changed]:
    """Reprice the project's heartbeats since that time, agent by agent. With `dry` nothing is written."""
    overrides, zone = prices.overrides(project.prices), ZoneInfo(project.time_zone)
    for agent in Agent.objects.filter(project=project).order_by("pk"):
        result = Changed(agent)
        last: int | None = 0
        while last is not None:
            with transaction.atomic():
                last = _step(result, since, last, overrides, zone, None if dry else now)
        if result.changed and not dry:
            rollups.sum_up([agent.pk], _whole_from(agent, since), now, now)
        yield result


def _whole_from(agent: Agent, since: datetime) -> datetime:
    """Where to begin recalculating rollups: before the oldest stored day heartbeats are gone, so those sums stay."""
    first = Heartbeat.objects.filter(agent=agent).aggregate(first=Min("day"))["first"]
    is_all = first <= agent.created_at.astimezone(UTC).date()
    return since if is_all else max(since, datetime.combine(first, time.min, UTC))


def _step(
    result: Changed, since: datetime, after: int, overrides: Sequence[Override], zone: ZoneInfo, now: datetime | None
) -> int | None:
    """Reprice the next thousand after that id, writing only if `now` is given. Returns the last id, None at the end."""
    state = AgentState.objects.select_for_update().get(agent=result.agent)
    rows = Heartbeat.objects.filter(agent=result.agent, id__gt=after, day__gte=since.astimezone(UTC).date())
    beats = list(rows.filter(spent_at__gte=since, tokens__gt=0).order_by("id").defer("answer")[:CHUNK])
    repriced = [change for beat in beats if (change := _repriced(beat, overrides, zone)) is not None]
    changed = [change for change in repriced if change.is_changed]
    _count(result, repriced, changed)
    if changed and now is not None:
        _write(state, changed, now)
    return beats[-1].pk if len(beats) == CHUNK else None


def _repriced(beat: Heartbeat, overrides: Sequence[Override], zone: ZoneInfo) -> Repriced | None:
    """None for heartbeats without prices: resent copies, which were not counted, and those that name no model."""
    content = beat.content or {}
    if not content.get("prices"):
        return None
    usage = msgspec.convert(content["usage"], list[Usage])
    stored = Stored(usage=usage, prices=content["prices"], cost=beat.cost, unpriced=beat.unpriced)
    day = beat.spent_at.astimezone(zone).date()
    spent = pricing.spent_again(stored, beat.spent_at, day, overrides)
    more = {
        "cost": spent.cost - beat.cost,
        "priced": spent.priced - beat.priced,
        "unpriced": spent.unpriced_tokens - beat.unpriced,
    }
    return Repriced(beat=beat, stored=stored, spent=spent, more=more)


def _count(result: Changed, repriced: Sequence[Repriced], changed: Sequence[Repriced]) -> None:
    result.read += len(repriced)
    result.changed += len(changed)
    for change in repriced:
        for name in MONEY:
            result.before[name] += getattr(change.beat, name)
            result.after[name] += getattr(change.beat, name) + change.more[name]


def _write(state: AgentState, changed: Sequence[Repriced], now: datetime) -> None:
    for change in changed:
        _add_to_row(state, change)
    # The review checks budgets against the new sums.
    state.check_at = now
    state.save(update_fields=_COLUMNS)
    json_rows.update_rows("agents_heartbeat", _HEARTBEAT_KEY, PRICED, [_as_row(change) for change in changed])
    _add_to_incidents(state, changed)


_HEARTBEAT_KEY: Final = {"id": "bigint", "day": "date"}
_COLUMNS: Final = [
    "check_at",
    "unpriced",
    *(f"{name}_{period}" for name in MONEY for period in ("month", "total")),
    *(f"{name}_today" for name in ("cost", "priced")),
    *(f"run_{name}" for name in MONEY),
]


def _as_row(change: Repriced) -> dict[str, Any]:
    money = {name: getattr(change.beat, name) + change.more[name] for name in MONEY}
    content = {**(change.beat.content or {}), "prices": list(change.spent.prices)}
    return {"id": change.beat.pk, "day": change.beat.day, **money, "content": content}


def _add_to_row(state: AgentState, change: Repriced) -> None:
    """Change each hot-row sum that includes the heartbeat, by the same conditions as in `fold.py`."""
    day, at = change.spent.day, change.spent.at
    sums = ["{}_total"]
    if state.month == day.replace(day=1):
        sums.append("{}_month")
    if state.run_at and at >= state.run_at:
        sums.append("run_{}")
    if state.day == day:
        sums.append("{}_today")
        state.unpriced = _unpriced_today(state.unpriced or {}, change) or None
    for pattern in sums:
        for name in MONEY:
            column = pattern.format(name)
            if column in _COLUMNS:
                setattr(state, column, max(0, getattr(state, column) + change.more[name]))


def _unpriced_today(known: Mapping[str, int], change: Repriced) -> dict[str, int]:
    """Today's unpriced tokens by model: minus what the heartbeat had, plus what it has now."""
    left, had = dict(known), pricing.unpriced_of(change.stored)
    rest = change.beat.unpriced - sum(had.values())
    for name, tokens in pricing.merged(had, {pricing.UNNAMED: rest} if rest else {}).items():
        model = name if name in left else pricing.OTHERS
        left[model] = left.get(model, 0) - tokens
    return {name: tokens for name, tokens in pricing.merged(left, change.spent.unpriced).items() if tokens > 0}


def _add_to_incidents(state: AgentState, changed: Sequence[Repriced]) -> None:
    """A heartbeat before an incident changes its starting point, one during it changes its cost."""
    first = min(change.beat.received_at for change in changed)
    touched = Q(resolved_at__isnull=True) | Q(resolved_at__gte=first)
    incidents = Incident.objects.filter(touched, agent=state.agent_id).order_by("pk")
    for incident in incidents.select_for_update(no_key=True):
        end = incident.resolved_at or datetime.max.replace(tzinfo=UTC)
        for change in changed:
            if change.beat.received_at <= end:
                _add_to_incident(incident, change)
        incident.save(update_fields=[*Incident.SPEND, *Incident.SPEND_BEFORE])


def _add_to_incident(incident: Incident, change: Repriced) -> None:
    pattern = "{}_before" if change.beat.received_at <= incident.opened_at else "{}"
    for name in MONEY:
        column = pattern.format(name)
        setattr(incident, column, max(0, getattr(incident, column) + change.more[name]))
