"""The retired service's rules: available, but off by default."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents import rules
from agents.incidents import actions
from agents.models import Agent
from agents.rules.facts import BeatSeen, Finding
from agents.rules.opt_in import call_rate, repeated_message, repeated_prompts, token_spike
from tests.agents.conftest import T0 as WORLD_T0
from tests.agents.conftest import World
from tests.agents.rules.conftest import quiet_facts

T0 = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
BUSY = [BeatSeen(T0 + timedelta(seconds=4 * n), "ok", calls=[{"name": "f", "args": f"{n}"}]) for n in range(11)]
IDLE = [BeatSeen(T0 + timedelta(seconds=n), "ok", "waiting") for n in range(5)]
ASKING = [BeatSeen(T0, "ok", tokens=5, prompts=["a"] * 5)]
BURST = [BeatSeen(T0 + timedelta(seconds=n), "ok", tokens=100) for n in range(10)] + [BeatSeen(T0, "ok", tokens=301)]
OPT_IN_RULES: list[tuple[Any, list[BeatSeen], str]] = [
    (call_rate, BUSY, "`f` called 11 times within a minute (limit: 10)"),
    (repeated_message, IDLE, "Same message 5 times without other progress: “waiting”"),
    (repeated_prompts, ASKING, "5 of the last 5 prompts were the same"),
    (token_spike, BURST, "301 tokens in one heartbeat; usually 100"),
]


def judged(
    rule: Any, beats: list[BeatSeen], now: datetime = T0 + timedelta(seconds=41), **given: Any
) -> Finding | None:
    state: dict[str, Any] = {}
    for beat in beats:
        state = rule.read(state, [beat])
    assert state == rule.read({}, beats)
    found: Finding | None = rule.check(quiet_facts(now, state=state, thresholds=given))
    return found


@pytest.mark.parametrize(("rule", "beats", "words"), OPT_IN_RULES)
def test_each_rule_fires_when_switched_on(rule: Any, beats: list[BeatSeen], words: str) -> None:
    found = judged(rule, beats)
    assert found is not None
    assert (found.reason, found.severity, found.evidence["pattern"]) == (words, "warning", rule.KIND)


@pytest.mark.parametrize(("rule", "beats", "words"), OPT_IN_RULES)
def test_off_by_default(rule: Any, beats: list[BeatSeen], words: str) -> None:
    assert not rules.in_force(rule).on


@pytest.mark.parametrize(
    ("rule", "beats", "given"),
    [
        (call_rate, BUSY[1:], {}),
        (call_rate, BUSY, {"calls": 11}),
        (repeated_message, IDLE[1:], {}),
        (repeated_message, [*IDLE[:4], BeatSeen(T0, "ok", "waiting", tokens=1)], {}),
        (repeated_message, [*IDLE[:4], BeatSeen(T0, "ok", "at work")], {}),
        (repeated_prompts, [BeatSeen(T0, "ok", prompts=["a", "b", "a", "a", "a"])], {}),
        (repeated_prompts, ASKING, {"times": 6}),
        (token_spike, [*BURST[:-1], BeatSeen(T0, "ok", tokens=300)], {}),
        (token_spike, BURST[5:], {}),
        (token_spike, BURST, {"factor": 3.5}),
    ],
)
def test_below_the_threshold_nothing_fires(rule: Any, beats: list[BeatSeen], given: dict[str, Any]) -> None:
    assert judged(rule, beats, **given) is None


def test_call_burst_is_over_a_minute_later() -> None:
    assert judged(call_rate, BUSY, T0 + timedelta(seconds=70)) is None


def test_two_rules_of_one_kind_share_a_signal(world: World) -> None:
    world.beat(0)
    Agent.objects.update(rules={"call_rate": {"on": True}})
    world.beat(1, tool_calls=12, tool_call_log=[{"name": "search", "args": "a"}] * 12)
    world.look(2)
    assert world.kinds() == ["loop"]
    assert world.incidents()[0].reason.startswith("`search(a)` called 12 times")


def test_dismissed_findings_stay_dismissed(world: World) -> None:
    world.beat(0)
    Agent.objects.update(rules={"repeated_message": {"on": True}})
    for at in range(1, 7):
        world.beat(at, message="waiting")
    world.look(7)
    assert world.kinds() == ["loop"]
    actions.resolve(incident=world.incidents()[0], actor="x", now=WORLD_T0 + timedelta(seconds=8))
    world.beat(9, message="waiting")
    world.look(10)
    assert world.kinds() == []
