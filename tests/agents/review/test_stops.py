"""How often a hold would have stopped an agent: by the decisions that holds are made by."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.models import Agent
from agents.review import stops
from agents.review.replay import Episode
from agents.rules import cost, loop, stalled
from agents.rules.facts import Finding
from teams.models import Project
from tests.agents.conftest import World
from tests.agents.review.test_backtest import CALL, at, every, tried

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def found(laps: int, last_at: datetime, **values: Any) -> Finding:
    evidence = {"laps": laps, "count": laps, "needed": 4, "last_at": last_at.isoformat()}
    made = Finding(kind="loop", severity="warning", reason="`ls` called", started_at=NOW, evidence=evidence)
    return replace(made, **values)


def episode(agent_type: str, laps: range) -> Episode:
    """A call more every minute."""
    first = found(laps[0], NOW)
    made = Episode(first, NOW)
    for number, count in enumerate(laps):
        now = NOW + timedelta(minutes=number)
        made.extend(found(count, now))
        made.hold(agent_type, now)
    return made


def test_agent_that_can_be_told_goes_on_first() -> None:
    made = episode("claude-code", range(4, 7))
    assert made.told == (NOW, 4)
    assert made.stopped_at == NOW + timedelta(minutes=2), "one call may have been on its way"


def test_agent_that_stops_is_not_held() -> None:
    made = episode("codex", range(4, 6))
    assert (made.told is not None, made.stopped_at) == (True, None)


def test_agent_that_cannot_be_told_is_held_at_once() -> None:
    made = episode("worker", range(4, 9))
    assert (made.told, made.stopped_at) == (None, NOW)


@pytest.mark.parametrize(("severity", "holds"), [("warning", False), ("critical", True)])
def test_only_an_exceeded_budget_holds(severity: str, holds: bool) -> None:
    spent = Finding(kind="cost", severity=severity, reason="", started_at=NOW, evidence={})
    assert stops.stops(spent, "claude-code", None) is holds
    assert stops.told(spent, "claude-code", NOW) is None


def test_which_rules_hold() -> None:
    assert [stops.can_hold(rule) for rule in (loop, cost, stalled)] == [True, True, False]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("rule", "arm", "beat"),
    [
        ("loop", {"hold": True}, CALL),
        ("cost", {}, {"cost_usd": 0.3}),
    ],
)
def test_stop_is_when_the_hold_came_live(world: World, rule: str, arm: dict[str, Any], beat: dict[str, Any]) -> None:
    Project.objects.update(rules={rule: arm} if arm else {})
    held = None
    for number, (moment, content) in enumerate(every(0, 300, 20, **beat)):
        world.beat(moment, **content)
        if number == 0 and rule == "cost":
            Agent.objects.update(daily_budget_usd=2)
        world.look(moment)
        held = moment if held is None and world.state().hold else held
    trial = tried(world, rule, 320)
    assert held is not None
    assert [each.stopped_at for each in trial.episodes] == [at(held)]
    assert (trial.stops, trial.nudges) == (1, 0)
    assert tried(world, rule, 320, since=held + 10).stops == 0, "before the time in question"
