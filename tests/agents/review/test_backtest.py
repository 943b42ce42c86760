"""A backtest on stored heartbeats finds what the rule found live."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from agents import rules
from agents.models import Agent, AgentState, Heartbeat, Incident, IncidentEvent, Outage, Signal, Unread
from agents.review import backtest
from agents.review.replay import Episode
from billing.services import set_plan
from teams.errors import ApiError
from tests.agents.conftest import T0, World

pytestmark = pytest.mark.slow

CALL = {"tool_calls": 1, "tool_call_log": [{"name": "search_docs", "args": "release notes"}]}
Story = list[tuple[float, dict[str, Any]]]


def at(seconds: float) -> Any:
    return T0 + timedelta(seconds=seconds)


def live(world: World, story: Story, end: float) -> None:
    """Play the story live: review whenever something is due, and just before each heartbeat."""
    for moment, beat in story:
        _look_until(world, moment)
        world.beat(moment, **beat)
        _look_if_due(world, moment)
    _look_until(world, end)
    AgentState.objects.update(check_at=at(end))
    world.look(end)


def _look_until(world: World, moment: float) -> None:
    if not AgentState.objects.exists():
        return
    while True:
        due = world.state().check_at
        if due is None or due >= at(moment):
            break
        world.look((due - T0).total_seconds())
    if world.kinds():
        # Growing reasons are updated once a minute; here, just before they end, as the replay does.
        AgentState.objects.update(check_at=at(moment - 1))
        world.look(moment - 1)


def _look_if_due(world: World, moment: float) -> None:
    due = world.state().check_at
    if Unread.objects.exists() or (due is not None and due <= at(moment)):
        world.look(moment)


def tried(world: World, kind: str, until: float, since: float = 0, **given: Any) -> backtest.Trial:
    rule, thresholds = backtest.parse(kind, given)
    agent = Agent.objects.select_related("project", "state").get()
    return backtest.of_agent(agent, rule, thresholds, at(since), at(until))


def every(start: float, end: float, step: float, **beat: Any) -> Story:
    return [(start + step * n, beat) for n in range(int((end - start) / step) + 1)]


LOOPS: Story = [*every(0, 100, 20, iteration_count=1), *every(120, 300, 20, **CALL), *every(320, 900, 20)]
STALLS: Story = [
    *[(30.0 * n, {"iteration_count": n, "progress_timeout": 120, "interval": 30}) for n in range(10)],
    *every(300, 900, 30, iteration_count=9),
    (930, {"iteration_count": 10}),
    *every(960, 1200, 30, iteration_count=10),
]
WAITS: Story = [
    (0, {"progress": True, "progress_timeout": 60}),
    (10, {"progress": False, "waiting": {"for": "approval", "until": at(300).isoformat()}}),
    *every(30, 600, 30, progress=False),
]
WAITS_LESS: Story = [*WAITS[:3], (60, {"progress": False, "waiting": None}), *WAITS[4:]]
UNPRICED: Story = [
    (0, {"cost_limit_usd": 1.0}),
    (10, {"cost_usd": 0.9, "usage": [{"model": "house-model", "input_tokens": 700}], "tokens_used": 50}),
    (20, {"tokens_used": 40}),
]
SILENT: Story = [*every(0, 120, 30, interval=30), *every(400, 520, 30, interval=30), *every(1000, 1100, 30)]
CRASHES: Story = [(0, {}), (30, {"status": "error", "message": "CRASH: boom", "custom_data": "trace"}), (90, {})]
ERRS: Story = [(0, {}), (30, {"status": "error", "message": "no disk"}), (40, {}), (50, {"message": "fine"})]
SEEN: Story = [
    (0, {"interval": 30, "restart_type": "systemd", "restart_target": "bot.service"}),
    (20, {"restart_type": "systemd", "status": "error", "message": "Not responding: systemd says failed"}),
    (40, {"restart_type": "systemd", "evidence": {"Result": "exit-code"}}),
]
WORSE: Story = [SEEN[0], (20, {"status": "error", "message": "no disk"}), SEEN[1], (30, {"status": "error"})]
SPENDS: Story = [(0, {}), *every(10, 60, 10, cost_usd=0.3, cost_limit_usd=1.0)]
LEAVES: Story = [(0, {"interval": 30}), (30, {"status": "shutdown"}), (900, {"interval": 30}), (930, {})]


@pytest.mark.parametrize(
    ("kind", "story", "end", "count"),
    [
        ("loop", LOOPS, 900, 1),
        ("stalled", STALLS, 1200, 2),
        ("stalled", WAITS, 600, 1),
        ("stalled", WAITS_LESS, 600, 1),
        ("missed_heartbeat", SILENT, 1200, 3),
        ("missed_heartbeat", LEAVES, 1200, 1),
        ("crash", CRASHES, 100, 1),
        ("error", ERRS, 60, 1),
        ("error", SEEN, 50, 1),
        ("error", WORSE, 60, 1),
        ("cost", SPENDS, 60, 1),
        ("cost", UNPRICED, 60, 1),
    ],
)
def test_a_backtest_finds_what_the_review_found(world: World, kind: str, story: Story, end: float, count: int) -> None:
    live(world, story, end)
    found = tried(world, kind, end)
    real = [one for one in Signal.objects.all() if one.kind == kind]
    assert len(real) == count
    assert [_words_of(one) for one in found.episodes] == [_words(one) for one in real]
    assert (found.heartbeats, found.before, found.covered_from) == (len(story), 0, T0)
    assert [one for one in found.real if one.kind == kind] == real


def _words(signal: Signal) -> dict[str, Any]:
    times = {"started": signal.started_at, "fired": signal.opened_at, "over": signal.cleared_at}
    return {"reason": signal.reason, "severity": signal.severity, "evidence": signal.evidence, **times}


def _words_of(one: Episode) -> dict[str, Any]:
    found = one.finding
    times = {"started": found.started_at, "fired": one.fired_at, "over": one.over_at}
    return {"reason": found.reason, "severity": found.severity, "evidence": found.evidence, **times}


MOMENTS: list[dict[str, Any]] = [
    {},
    {"progress": True},
    CALL,
    CALL,
    {"tool_calls": 1, "tool_call_log": [{"name": "read", "args": "page 7"}], "progress": True},
    {"status": "error", "message": "no disk"},
    {"status": "error", "message": "CRASH: boom"},
    {"status": "shutdown"},
    {"waiting": {"for": "approval", "until": at(400).isoformat()}},
    {"waiting": None},
    {"cost_usd": 0.2},
    {"restart_type": "systemd", "status": "error", "message": "Not responding: failed", "sdk": "clevagent 1.0 runner"},
    {"restart_type": "systemd", "status": "warning", "message": "cannot look", "sdk": "clevagent 1.0 runner"},
]


@pytest.mark.parametrize("seed", range(8))
def test_random_histories_are_found_again(world: World, seed: int) -> None:
    chance, moment, story = random.Random(seed), 0.0, []
    for number in range(25):
        told = {"interval": 30, "progress_timeout": 120, "cost_limit_usd": 1, "progress": False}
        process = {"instance": str(number // 10), "seq": number % 10}
        story.append((moment, {**told, **process, **chance.choice(MOMENTS)}))
        moment += chance.choice([0.5, 5, 10, 30, 30, 61, 400])
    live(world, story, moment)
    for kind in ("crash", "missed_heartbeat", "stalled", "error", "cost", "loop"):
        real = [_words(one) for one in Signal.objects.filter(kind=kind)]
        assert [_words_of(one) for one in tried(world, kind, moment).episodes] == real, kind


def test_a_healthy_history_has_no_findings(world: World) -> None:
    live(world, STALLS, 1200)
    for kind in ("loop", "crash", "error", "cost", "missed_heartbeat", "call_rate"):
        assert tried(world, kind, 1200).episodes == []


def test_a_backtest_writes_nothing(world: World) -> None:
    live(world, LOOPS, 900)
    tables: list[Any] = [AgentState, Agent, Incident, Signal, IncidentEvent, Heartbeat]
    before = [list(table.objects.order_by("pk").values()) for table in tables]
    memory = Agent.objects.get().memory.rules
    tried(world, "loop", 900, repeats=2)
    assert [list(table.objects.order_by("pk").values()) for table in tables] == before
    assert Agent.objects.get().memory.rules == memory


def test_thresholds_change_the_findings(world: World) -> None:
    live(world, LOOPS, 900)
    assert tried(world, "loop", 900, repeats=100).episodes == []
    assert tried(world, "loop", 900, **{"poller:search_docs": True}).episodes == []
    (early,) = tried(world, "loop", 900, repeats=3).episodes
    (usual,) = tried(world, "loop", 900).episodes
    assert early.fired_at < usual.fired_at


def test_columns_of_the_agent_are_thresholds_too(world: World) -> None:
    live(world, STALLS, 1200)
    assert tried(world, "stalled", 1200, progress_timeout=3600).episodes == []
    found = tried(world, "stalled", 1200, progress_timeout=60)
    assert [one.fired_at for one in found.episodes] == [at(330), at(990)]
    assert found.thresholds == {"progress_timeout": 60.0}
    assert Agent.objects.get().progress_timeout is None


def test_budgets_are_tested_in_dollars(world: World) -> None:
    live(world, SPENDS, 60)
    found = tried(world, "cost", 60, daily_budget_usd=0.5)
    assert [one.finding.severity for one in found.episodes] == ["critical"]
    assert found.episodes[0].fired_at == at(20)
    assert tried(world, "cost", 60, daily_budget_usd=100).episodes == []


def test_disabled_rules_can_be_tested(world: World) -> None:
    live(world, [(0, {}), *every(1, 12, 1, **CALL)], 20)
    world.project.rules = {"loop": {"off": True}, "call_rate": {"calls": 11}}
    world.project.save()
    assert len(tried(world, "call_rate", 20).episodes) == 1
    assert tried(world, "call_rate", 20).thresholds == {"calls": 11}
    assert len(tried(world, "loop", 20).episodes) == 1
    assert tried(world, "call_rate", 20, calls=12).episodes == []


def test_earlier_heartbeats_only_teach(world: World) -> None:
    live(world, STALLS, 1200)
    found = tried(world, "stalled", 1200, since=925)
    assert (found.heartbeats, found.before) == (10, 31)
    assert [one.fired_at for one in found.episodes] == [at(390), at(1050)]
    assert [one.fired_at for one in tried(world, "stalled", 1200, since=940).episodes] == [at(1050)]
    assert found.covered_from == at(925)


@pytest.mark.parametrize(
    ("since", "most", "covered", "why"),
    [
        (0, 5, 480, "only the newest 5 heartbeats are read"),
        (500, 5, 500, ""),
        (-3600, 100, 0, "no older heartbeat is stored"),
        (-40 * 86_400, 100, 0, "the plan keeps no older heartbeats"),
    ],
)
def test_limited_coverage_is_explained(world: World, since: float, most: int, covered: float, why: str) -> None:
    live(world, every(0, 600, 30), 600)
    agent = Agent.objects.select_related("project", "state").get()
    found = backtest.of_agent(agent, *backtest.parse("loop", {}), at(since), at(600), most=most)
    assert (found.covered_from, found.why) == (at(covered), why)


@pytest.mark.parametrize(("beats", "note"), [(0, "No heartbeats are"), (1, "Only one"), (9, "Only 9"), (10, "")])
def test_few_heartbeats_are_noted(world: World, beats: int, note: str) -> None:
    live(world, [(-9000, {}), *[(30.0 * n, {}) for n in range(beats)]], 600)
    found = tried(world, "loop", 600, since=-60)
    assert found.note.startswith(note)
    assert bool(found.note) is bool(note)


def test_watchdog_outages_are_respected(world: World) -> None:
    for moment, beat in [*every(0, 120, 30, interval=30), *every(400, 520, 30)]:
        world.beat(moment, **beat)
    assert len(tried(world, "missed_heartbeat", 520).episodes) == 1
    Outage.objects.create(part="edge", started_at=at(125), ended_at=at(395))
    assert tried(world, "missed_heartbeat", 520).episodes == []


@pytest.mark.parametrize(
    ("kind", "given", "field"),
    [
        ("lop", {}, "rule"),
        (None, {}, "rule"),
        ("restart_failed", {}, "rule"),
        ("loop", [], "thresholds"),
        ("loop", {"laps": 5}, "thresholds.laps"),
        ("loop", {"repeats": 1}, "thresholds.repeats"),
        ("loop", {"off": True}, "thresholds.off"),
        ("stalled", {"progress_timeout": 1}, "thresholds.progress_timeout"),
    ],
)
def test_invalid_backtests_are_refused(kind: Any, given: Any, field: str) -> None:
    with pytest.raises(ApiError) as refusal:
        backtest.parse(kind, given)
    assert refusal.value.http_status == 422
    assert list(refusal.value.fields or {}) == [field]


def test_a_project_is_tested_agent_by_agent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backtest, "MAX_AGENTS", 2)
    for number, name in enumerate(("old", "bot", "new")):
        for moment, beat in every(100 * number, 100 * number + 50, 10, **CALL):
            world.beat(moment, agent=name, **beat)
    found, left_out = backtest.of_project(world.project, *backtest.parse("loop", {}), at(0), at(400))
    assert ([one.agent.name for one in found], left_out) == (["new", "bot"], 1)
    assert all(len(one.episodes) == 1 for one in found)


def test_the_plan_limits_how_far_back_it_goes(world: World) -> None:
    set_plan(team=world.project.team, plan="pro", actor="test")
    live(world, every(0, 60, 30), 60)
    assert tried(world, "loop", 60, since=-10 * 86_400).why == "no older heartbeat is stored"


@pytest.mark.parametrize("rule", rules.every().values(), ids=lambda rule: rule.KIND)
def test_every_rule_but_one_can_be_tested(rule: rules.Rule, world: World) -> None:
    run: Callable[[], Any] = lambda: tried(world, rule.KIND, 60)  # noqa: E731
    live(world, every(0, 60, 30), 60)
    if rule.KIND == "restart_failed":
        with pytest.raises(ApiError):
            run()
    else:
        assert run().heartbeats == 3
