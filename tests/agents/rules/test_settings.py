"""Switches and thresholds: validated when set, merged when a rule runs."""

from __future__ import annotations

from typing import Any

import pytest

from agents import rules
from agents.models import Agent
from agents.rules import loop, settings
from agents.rules.opt_in import call_rate, token_spike
from tests.agents.conftest import World

ONE_CALL = {"name": "search_docs", "args": "release notes"}


@pytest.mark.parametrize(
    ("levels", "on"),
    [
        ([], True),
        ([{"loop": {"off": True}}], False),
        ([{"loop": {"off": True}}, {"loop": {"on": True}}], True),
        ([{"loop": {"off": True}}, {"loop": {"off": False}}], True),
        ([{"loop": {"off": True}}, {"loop": {"repeats": 5}}], False),
        ([{"loop": {"on": False}}, {"cost": {"on": True}}], False),
    ],
)
def test_agent_switch_overrides_the_projects(levels: list[dict[str, Any]], on: bool) -> None:
    assert rules.in_force(loop, *levels).on is on


def test_opt_in_rules_are_off_by_default() -> None:
    assert not rules.in_force(call_rate, {}, {}).on
    assert rules.in_force(call_rate, {"call_rate": {"on": True}}, {}).on


def test_threshold_precedence() -> None:
    assert rules.in_force(token_spike).thresholds == {"factor": 3.0}
    project = {"token_spike": {"factor": 5}, "loop": {"repeats": 6, "budget:search": 9}}
    assert rules.in_force(token_spike, project, {}).thresholds == {"factor": 5}
    assert rules.in_force(token_spike, project, {"token_spike": {"factor": 7.5}}).thresholds == {"factor": 7.5}
    assert rules.in_force(loop, project, {"loop": {"repeats": 8}}).thresholds == {"repeats": 8, "budget:search": 9}


def test_invalid_stored_values_are_ignored() -> None:
    stored = {"call_rate": {"calls": 0, "factor": 3, "on": True}}
    assert rules.in_force(call_rate, stored) == settings.InForce(True, {"calls": 10})


WRONG: list[tuple[Any, str, str]] = [
    ({"lop": {}}, "lop", "is not a rule; rules are crash, missed_heartbeat, "),
    ({"loop": 5}, "loop", 'must be an object, e.g. {"off": true}'),
    ({"loop": {"on": True, "off": True}}, "loop", "must have either `on` or `off`, not both"),
    ({"loop": {"off": 1}}, "loop.off", "must be true or false"),
    ({"loop": {"laps": 5}}, "loop.laps", "is not a threshold of this rule; it has repeats, budget:TOOL, poller:TOOL"),
    ({"crash": {"laps": 5}}, "crash.laps", "is not a threshold of this rule; it has none"),
    ({"call_rate": {"laps": 5}}, "call_rate.laps", "is not a threshold of this rule; it has calls"),
    ({"loop": {"repeats": 1}}, "loop.repeats", "must be a whole number from 2 to 1,000"),
    ({"loop": {"repeats": 2.5}}, "loop.repeats", "must be a whole number from 2 to 1,000"),
    ({"loop": {"repeats": True}}, "loop.repeats", "must be a whole number from 2 to 1,000"),
    ({"loop": {"repeats": None}}, "loop.repeats", "must be a whole number from 2 to 1,000"),
    ({"loop": {"repeats": 10**400}}, "loop.repeats", "must be a whole number from 2 to 1,000"),
    ({"loop": {"budget:search": 1}}, "loop.budget:search", "must be a whole number from 2 to 10,000"),
    ({"loop": {"poller:search": 1}}, "loop.poller:search", "must be true or false"),
    ({"loop": {"budget:": 5}}, "loop.budget:", "is not a threshold of this rule; "),
    ({"loop": {"repeats:search": 5}}, "loop.repeats:search", "is not a threshold of this rule; "),
    ({"token_spike": {"factor": float("nan")}}, "token_spike.factor", "must be a number from 1 to 1,000"),
    ({"stalled": {"progress_timeout": 60}}, "stalled.progress_timeout", "is an agent setting: set the agent's `"),
]


@pytest.mark.parametrize(("given", "place", "why"), WRONG, ids=lambda case: str(case)[:40])
def test_errors_name_their_place(given: Any, place: str, why: str) -> None:
    (found,) = rules.wrong(given).items()
    assert found[0] == place
    assert found[1].startswith(why)


def test_valid_settings_have_no_errors() -> None:
    every = {"loop": {"off": True, "repeats": 8, "budget:a b": 9, "poller:get": True}, "crash": {}}
    assert rules.wrong({**every, "token_spike": {"on": True, "factor": 2.5}}) == {}


@pytest.mark.parametrize("rule", rules.every().values(), ids=lambda rule: rule.KIND)
def test_defaults_are_within_bounds(rule: rules.Rule) -> None:
    for one in rule.THRESHOLDS:
        assert one.default is None or settings.out_of_range(one, one.default) == ""
        assert one.why.endswith(".")
        assert not one.column or hasattr(Agent, one.name)


def test_project_switch_applies_to_its_agents(world: World) -> None:
    world.beat(0)
    world.project.rules = {"loop": {"off": True}}
    world.project.save()
    world.beat(1, tool_calls=5, tool_call_log=[ONE_CALL] * 5)
    world.look(2)
    assert world.kinds() == []
    world.project.rules = {"loop": {"repeats": 3}}
    world.project.save()
    world.beat(3, tool_calls=1, tool_call_log=[ONE_CALL])
    world.look(4)
    assert world.kinds() == ["loop"]
    Agent.objects.update(rules={"loop": {"off": True}})
    world.beat(5, tool_calls=1, tool_call_log=[ONE_CALL])
    world.look(6)
    assert world.kinds() == []
