"""Recent activity as sixty bars."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents.ingest.registration import create_agent
from agents.models import Agent, Heartbeat
from agents.reporting import strips
from agents.reporting.strips import ALIVE, ERROR, NOTHING, PROGRESS, SILENT, Strip
from agents.storage import rollups
from teams.models import Project

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 23, 12, 0, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def agent_of(project: Project, name: str = "bot", age: timedelta = timedelta(days=3)) -> Agent:
    return create_agent(project=project, name=name, now=NOW - age)


def beat(agent: Agent, ago: float, *, progress: bool = False, status: str = "ok") -> None:
    at = NOW - timedelta(seconds=ago)
    Heartbeat.objects.create(agent=agent, day=at.date(), received_at=at, spent_at=at, status=status, progress=progress)


def strip_of(agent: Agent, allowed: float = 60) -> Strip:
    return strips.strips_for([strips.StripRequest(agent.pk, allowed, agent.created_at)], NOW)[agent.pk]


@pytest.mark.parametrize(
    ("allowed", "width"),
    [(6, 60), (60, 60), (61, 120), (120, 120), (1_800, 1_800), (1_801, 3_600), (7_200, 7_200), (10**7, 172_800)],
)
def test_bar_covers_the_allowed_time(allowed: float, width: int) -> None:
    assert strips.width_for(allowed) == width


def test_bar_shows_error_then_progress(project: Project) -> None:
    agent = agent_of(project)
    beat(agent, 10)
    for ago in (40, 120):
        beat(agent, ago)
    for ago in (50, 100):
        beat(agent, ago, progress=True)
    beat(agent, 110, status="error")
    assert strip_of(agent).bars[-4:] == (SILENT, ERROR, PROGRESS, ALIVE)


def test_incomplete_bar_is_not_silent(project: Project) -> None:
    agent = agent_of(project)
    beat(agent, 40)
    assert strip_of(agent).bars[-2:] == (ALIVE, NOTHING)


def test_nothing_is_shown_before_the_agent(project: Project) -> None:
    agent = agent_of(project, age=timedelta(minutes=3))
    beat(agent, 170)
    assert strip_of(agent).bars == (*[NOTHING] * 56, ALIVE, SILENT, SILENT, NOTHING)


@pytest.mark.parametrize("allowed", [60, 600, 3_600, 7_200])
def test_strip_is_the_same_after_roll_up(allowed: float, project: Project) -> None:
    agent = agent_of(project)
    for n in range(40):
        beat(agent, 5 + n * allowed * 0.9, progress=n % 3 == 0, status="error" if n == 7 else "ok")
    fresh = (
        strips.strips_for([strips.StripRequest(agent.pk, allowed, agent.created_at)], NOW) if allowed == 60 else None
    )
    rollups.roll_up(NOW - timedelta(seconds=20))
    rolled = strip_of(agent, allowed)
    assert fresh is None or fresh[agent.pk] == rolled
    assert rolled.bars.count(ERROR) == 1
    assert SILENT not in rolled.bars[-30:]
    assert rolled.bars[-1] != NOTHING


def test_new_heartbeats_show_after_roll_up(project: Project) -> None:
    agent = agent_of(project)
    beat(agent, 100, progress=True)
    rollups.roll_up(NOW - timedelta(seconds=25))
    assert strip_of(agent).bars[-2:] == (SILENT, NOTHING)
    beat(agent, 1, status="error")
    assert strip_of(agent).bars[-3:] == (PROGRESS, SILENT, ERROR)


def test_hourly_agent_shows_days(project: Project) -> None:
    agent = agent_of(project, age=timedelta(days=6))
    for n in range(60):
        beat(agent, 60 + n * 3_600, progress=True)
    rollups.roll_up(NOW)
    strip = strip_of(agent, 7_200)
    assert strip.summary == "Last 5 days, 2 h per bar: 30 with progress, 29 without heartbeat"
    assert strip.bars[-2:] == (PROGRESS, NOTHING)


def test_strips_are_per_agent(project: Project) -> None:
    busy, idle = agent_of(project), agent_of(project, "idle")
    beat(busy, 10, progress=True)
    assert PROGRESS in strip_of(busy).bars
    assert PROGRESS not in strip_of(idle).bars


def test_fifty_strips_take_two_queries(project: Project) -> None:
    wanted = [strips.StripRequest(agent_of(project, f"bot-{n}").pk, 30 * (n + 1), NOW - HOUR) for n in range(50)]
    with CaptureQueriesContext(connection) as seen:
        assert len(strips.strips_for(wanted, NOW)) == 50
    assert len(seen) == 2


def test_no_agents_take_no_query() -> None:
    with CaptureQueriesContext(connection) as seen:
        assert strips.strips_for([], NOW) == {}
    assert len(seen) == 0


def test_consecutive_bars_are_one_line() -> None:
    bars = (NOTHING, PROGRESS, PROGRESS, ALIVE, SILENT, ERROR)
    assert Strip(60, bars).lines == [
        ("progress", "M3 8h5"),
        ("alive", "M9 12h2"),
        ("silent", "M12 15h2"),
        ("error", "M15 5h2"),
        ("point", "M15 14h2"),
    ]


def test_strip_summary() -> None:
    bars = (*[PROGRESS] * 57, ERROR, SILENT, NOTHING)
    assert Strip(60, bars).summary == "Last 1 h, 1 min per bar: 57 with progress, 1 with an error, 1 without heartbeat"
    assert Strip(60, (NOTHING,) * 60).summary == "Last 1 h, 1 min per bar: no data yet"
