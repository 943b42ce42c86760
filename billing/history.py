"""Usage per team and day, from the daily roll-ups of the team's agents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from django.db.models import Count, Sum

from teams.models import Team

DAYS: Final = 30
# The daily span of `agents.models.Rollup`, which this app must not import.
DAY: Final = "d"
ROLLUPS: Final = "projects__agents__rollups"
LAST_BEAT: Final = "projects__agents__state__last_beat_at__gte"


@dataclass(frozen=True, slots=True)
class DayOfUse:
    """One day in UTC. `cost` is in micro-dollars."""

    day: date
    agents: int = 0
    heartbeats: int = 0
    cost: int = 0


def of(team_ids: Iterable[int], now: datetime) -> dict[int, list[DayOfUse]]:
    """The last 30 days per team, oldest first, including days without a heartbeat. One query."""
    ids, today = list(team_ids), now.astimezone(UTC).date()
    days = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    stored = {(pk, use.day): use for pk, use in _stored(ids, now)}
    return {pk: [stored.get((pk, day), DayOfUse(day)) for day in days] for pk in ids}


def _stored(team_ids: list[int], now: datetime) -> Iterable[tuple[int, DayOfUse]]:
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    spans = {f"{ROLLUPS}__span": DAY, f"{ROLLUPS}__start__gte": midnight - timedelta(days=DAYS - 1)}
    teams = Team.objects.filter(pk__in=team_ids, **spans).order_by().values_list("pk", f"{ROLLUPS}__start")
    sums = teams.annotate(Count(ROLLUPS), Sum(f"{ROLLUPS}__beats"), Sum(f"{ROLLUPS}__cost"))
    for pk, start, agents, beats, cost in sums:
        yield pk, DayOfUse(start.astimezone(UTC).date(), agents, beats, cost)


def reporting(team_ids: Iterable[int], now: datetime) -> set[int]:
    """The teams with a heartbeat in the last 30 days, also in the last minute, which no roll-up has yet. One query."""
    recent = {LAST_BEAT: now - timedelta(days=DAYS)}
    return set(Team.objects.filter(pk__in=list(team_ids), **recent).order_by().values_list("pk", flat=True).distinct())
