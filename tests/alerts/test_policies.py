"""Rules of a policy: what they match, whom they notify when, and how they read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerts import policies
from alerts.policies import Notice, PolicyError, Problem, Rule

# A Monday.
NOW = datetime(2026, 11, 23, 20, 25, tzinfo=UTC)
OPS = {"channels": ["Ops"]}


def rule(match: Mapping[str, Any] | None = None, *steps: Mapping[str, Any], name: str = "R") -> Rule:
    [parsed] = policies.parse([{"name": name, "match": match or {}, "steps": list(steps) or [OPS]}])
    return parsed


def problem(at: datetime = NOW, **changes: Any) -> Problem:
    agents = {"bot-1": {"env": "prod", "team": "a"}, "bot-2": {"env": "test"}}
    defaults: dict[str, Any] = {"severity": "critical", "kind": "stalled", "agents": agents, "at": at}
    return Problem(**defaults | changes)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("match", "applies"),
    [
        ({}, True),
        ({"severity": "critical"}, True),
        ({"severity": "warning"}, False),
        ({"kinds": ["loop", "stalled"]}, True),
        ({"kinds": ["loop"]}, False),
        ({"labels": {"env": "test"}}, True),
        ({"labels": {"env": "test", "team": "a"}}, False),  # no single agent has both
        ({"agents": ["bot-2"]}, True),
        ({"agents": ["bot-2"], "labels": {"env": "prod"}}, False),
        ({"agents": ["bot"]}, False),
    ],
)
def test_rule_applies(match: dict[str, Any], applies: bool) -> None:
    assert (policies.matching([rule(match)], problem()) is not None) is applies


@pytest.mark.parametrize(
    ("when", "applies"),
    [
        ("2026-11-23 18:59", False),
        ("2026-11-23 19:00", True),
        ("2026-11-24 06:59", True),  # Tuesday morning belongs to Monday's night
        ("2026-11-24 07:00", False),
        ("2026-11-24 19:00", False),
        ("2026-11-23 06:59", False),  # Monday morning belongs to Sunday's
    ],
)
def test_hours_past_midnight_belong_to_the_day_before(when: str, applies: bool) -> None:
    nights = rule({"days": ["mon"], "hours": {"from": "19:00", "to": "07:00"}})
    assert (policies.matching([nights], problem(at(when))) is not None) is applies


def test_first_rule_that_applies_decides() -> None:
    rules = [rule({"severity": "warning"}, name="a"), rule(name="b"), rule(name="c")]
    assert policies.matching(rules, problem()) == rules[1]
    assert policies.matching([], problem()) is None


LADDER = ({**OPS, "repeat": 10, "times": 3}, {"people": ["a@b.c"], "after": 15}, {"people": ["d@e.f"], "after": 60})


def test_plan_interleaves_repeats_and_steps() -> None:
    planned = policies.plan(rule(None, *LADDER), NOW)
    minutes = [(int((notice.at - NOW).total_seconds() / 60), notice.step, notice.round) for notice in planned]
    assert minutes == [(0, 0, 0), (10, 0, 1), (15, 1, 0), (20, 0, 2), (75, 2, 0)]


def test_missed_repeats_are_sent_once() -> None:
    planned = policies.plan(rule(None, *LADDER), NOW)
    assert policies.due(planned, 1, NOW + timedelta(minutes=9)) == ([], 1)
    late = NOW + timedelta(minutes=30)
    assert policies.due(planned, 1, late) == (
        [Notice(NOW + timedelta(minutes=15), 1, 0), Notice(NOW + timedelta(minutes=20), 0, 2)],
        4,
    )
    assert policies.due(planned, 5, late) == ([], 5)


def test_rules_read_as_sentences() -> None:
    match = {
        "severity": "critical",
        "kinds": ["stalled", "crash"],
        "labels": {"env": "prod"},
        "days": ["sat", "sun"],
        "hours": {"from": "18:00", "to": "08:00"},
    }
    assert policies.sentences(rule(match, *LADDER)) == [
        "For critical alerts of kind stalled or crash of agents with env=prod on Saturday and Sunday between 18:00 and "
        "08:00: notify Ops at once, every 10 min, 3 times in all.",
        "If nobody has acknowledged it after 15 min, notify a@b.c.",
        "If nobody has acknowledged it 1 h later, notify d@e.f.",
    ]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({}, "Expected `array`"),
        ([{"name": "R", "steps": []}], "length >= 1"),
        ([{"name": "", "steps": [OPS]}], "length >= 1"),
        ([{"name": "R", "steps": [{}]}], "Step 1 of “R” notifies nobody"),
        ([{"name": "R", "steps": [{**OPS, "after": 5}]}], "The first step of “R” is immediate"),
        ([{"name": "R", "steps": [OPS, OPS]}], "Step 2 of “R” needs `after`"),
        ([{"name": "R", "steps": [OPS]}] * 2, "Two rules are named “R”"),
        ([{"name": "R", "steps": [{**OPS, "repeat": 0}]}], ">= 1"),
        ([{"name": "R", "steps": [{**OPS, "repeat": 1, "times": 51}]}], "<= 50"),
        ([{"name": "R", "steps": [OPS], "match": {"hours": {"from": "24:00", "to": "07:00"}}}], "matching regex"),
        ([{"name": "R", "steps": [OPS], "match": {"severity": "worst"}}], "Invalid enum value"),
        ([{"name": "R", "steps": [OPS], "typo": 1}], "unknown field `typo`"),
        ([{"name": "R\0", "steps": [OPS]}], "NUL"),
        ([{"name": "R\\u0000", "steps": [{"channels": ["a\0"]}]}], "NUL"),
        ([{"name": f"R{number}", "steps": [OPS]} for number in range(51)], "at most 50 rules"),
    ],
)
def test_invalid_rules_are_explained(rules: Any, said: str) -> None:
    with pytest.raises(PolicyError) as error:
        policies.parse(rules)
    assert said in str(error.value)
    assert policies.stored(rules) == ()
