"""Invariants that hold whatever agents send, whenever the detector runs and whatever people do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from agents.commands import dispatch
from agents.domain.hot_row import Answer
from agents.fleet import services
from agents.incidents import actions
from agents.models import Agent, AgentMemory, AgentState, Heartbeat, Incident, IncidentEvent, Rollup, Signal
from agents.storage.rollups import roll_up
from teams.errors import ApiError
from tests.agents.conftest import T0, World
from tests.examples import examples

pytestmark = pytest.mark.slow

AGENTS = ("alpha", "beta")
STATUSES = ("ok", "ok", "ok", "warning", "error", "shutdown")
PERSON = "owner@example.com"
MAX_STATE = 6 * 1024
DELIMITED = some.text("ab √/=?", max_size=12)
MONEY = some.one_of(some.just(0.0), some.floats(0, 3, allow_nan=False), some.just(0.0000004), some.just(19.99))
USES = some.fixed_dictionaries(
    {
        "model": some.sampled_from(["gpt-4.1-mini", "claude-opus-4-1", "house-model", ""]),
        "input_tokens": some.integers(0, 200_000),
        "output_tokens": some.integers(0, 9_000),
    },
    optional={"cost_usd": MONEY, "cache_read_tokens": some.integers(0, 300_000)},
)
CALLS = some.fixed_dictionaries(
    {"name": some.sampled_from(["search", "get_status", "write", "x" * 100])},
    optional={
        "args": some.one_of(DELIMITED, some.just("y" * 200)),
        "args_hash": some.sampled_from(["1", "2"]),
        "result_hash": some.sampled_from(["r", "s"]),
        "ok": some.booleans(),
        "ms": some.floats(0, 1e6),
    },
)
BEATS = some.fixed_dictionaries(
    {
        "agent": some.sampled_from(AGENTS),
        "status": some.sampled_from(["ok", "ok", "ok", "warning", "error", "shutdown"]),
    },
    optional={
        "message": some.sampled_from(["step", "again", "CRASH: KeyError: 'title'", "z" * 500]),
        "tokens_used": some.integers(0, 100_000),
        "cost_usd": MONEY,
        "usage": some.lists(USES, max_size=3),
        "tool_call_log": some.lists(CALLS, max_size=12),
        "tool_calls": some.integers(0, 50),
        "iteration_count": some.integers(0, 9),
        "prompt_hashes": some.lists(some.sampled_from(["p", "q"]), max_size=5),
        "memory_mb": some.floats(0, 1e5),
        "beat_id": some.sampled_from(["one", "two", "three"]),
        "sent_late": some.integers(-4_000, 100_000),
        "interval": some.sampled_from([1, 30, 600]),
        "progress": some.booleans(),
        "progress_timeout": some.sampled_from([5, 900]),
        "cost_limit_usd": some.sampled_from([0.01, 5.0]),
        "waiting": some.sampled_from([None, {"for": "approval"}]),
        "labels": some.dictionaries(some.sampled_from(["run_id", "env"]), some.sampled_from(["1", "2"]), max_size=2),
        "instance": some.sampled_from(["i", "j"]),
    },
)
Deed = Callable[[World, float], None]


def beat(fields: dict[str, Any]) -> Deed:
    def do(world: World, at: float) -> None:
        body = {name: value for name, value in fields.items() if name != "sent_late"}
        if "sent_late" in fields:
            body["sent_at"] = (T0 + timedelta(seconds=at - fields["sent_late"])).isoformat()
        world.offer(at, **body)

    return do


def by_person(work: Callable[[Agent, datetime], Any]) -> Deed:
    def do(world: World, at: float) -> None:
        agent = Agent.objects.filter(names__name=AGENTS[0]).first()
        if agent is not None:
            with world.clock(at) as now, suppress(ApiError), transaction.atomic():
                work(agent, now)

    return do


def _on_its_incident(work: Callable[..., Any]) -> Callable[[Agent, datetime], Any]:
    def do(agent: Agent, now: datetime) -> None:
        incident = Incident.objects.filter(agent=agent, resolved_at=None).first()
        if incident is not None:
            work(incident=incident, actor=PERSON, now=now)

    return do


def _arm(agent: Agent, now: datetime) -> None:
    target = {"restart_policy": "auto", "restart_type": "systemd", "restart_target": "bot.service"}
    services.change_agent(agent=agent, changes={**target, "daily_budget_usd": 2}, actor=PERSON, now=now)


def _restart(agent: Agent, now: datetime) -> None:
    dispatch.request(agent=agent, incident=None, reason="", now=now, action="restart", actor=PERSON, origin="person")


PEOPLE = [
    by_person(_on_its_incident(actions.acknowledge)),
    by_person(_on_its_incident(actions.resolve)),
    by_person(lambda agent, now: services.pause(agent=agent, actor=PERSON, now=now)),
    by_person(lambda agent, now: services.resume(agent=agent, actor=PERSON, now=now)),
    by_person(_arm),
    by_person(_restart),
    by_person(lambda agent, now: services.delete_agent(agent=agent, actor=PERSON, now=now)),
]
DEEDS = some.one_of(
    BEATS.map(beat),
    some.just(World.look),
    some.just(lambda world, at: world.look(at, after_outage=True)),
    some.sampled_from(PEOPLE),
)
# The server's time only advances; the client's clock may be anything.
STORIES = some.lists(some.tuples(some.sampled_from([0, 0.1, 1, 5, 61, 700, 90_000]), DEEDS), min_size=1, max_size=25)


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STORIES)
def test_invariants_hold_in_every_story(world: World, story: list[tuple[float, Deed]]) -> None:
    """At most one open incident per agent, evidence for each finding, every cent counted once, small state."""
    with transaction.atomic():
        at = 0.0
        for pause, deed in story:
            at += pause
            deed(world, at)
            one_open_incident_each()
        world.look(at + 1)
        for holds in (one_open_incident_each, findings_have_evidence, money_adds_up, states_are_small):
            holds()
        with world.clock(at + 2) as now:
            roll_up(now)
        days_add_up()
        transaction.set_rollback(True)


def one_open_incident_each() -> None:
    open_ones = Incident.objects.filter(resolved_at=None).values_list("agent_id", flat=True)
    assert [agent for agent, count in Counter(open_ones).items() if count > 1] == []
    standing = Signal.objects.filter(cleared_at=None).values_list("agent_id", "kind")
    assert [signal for signal, count in Counter(standing).items() if count > 1] == []


def findings_have_evidence() -> None:
    for signal in Signal.objects.all():
        assert signal.reason, signal.kind
        assert signal.evidence, signal.reason
    assert not IncidentEvent.objects.filter(text="").exists()


def money_adds_up() -> None:
    for state in AgentState.objects.all():
        beats = list(Heartbeat.objects.filter(agent_id=state.agent_id))
        assert state.cost_total == sum(one.cost for one in beats)
        assert state.priced_total == sum(one.priced for one in beats)
        assert state.tokens_total == sum(one.tokens for one in beats)
        assert state.unpriced_total == sum(one.unpriced for one in beats)
        assert min(one.cost for one in beats) >= 0
        assert 0 <= state.priced_today <= state.cost_today <= state.cost_total
        assert state.cost_month <= state.cost_total
    for incident in Incident.objects.select_related("agent__state"):
        since = Heartbeat.objects.filter(agent=incident.agent, received_at__gte=incident.opened_at)
        assert 0 <= incident.spent <= sum(one.cost for one in since)


def states_are_small() -> None:
    for memory in AgentMemory.objects.all():
        sizes = {kind: len(json.dumps(kept, separators=(",", ":"))) for kind, kept in memory.rules.items()}
        assert max(sizes.values(), default=0) <= MAX_STATE, sizes


def days_add_up() -> None:
    """Hours are sums of minutes, or of heartbeats that came late; days are sums of hours."""
    for agent in Agent.objects.filter(project__team__ended_at=None):
        beats = list(Heartbeat.objects.filter(agent=agent))
        names = Counter(name for one in beats for name in _names(one))
        for span in (Rollup.Span.HOUR, Rollup.Span.DAY):
            sums = list(Rollup.objects.filter(agent=agent, span=span))
            assert sum(one.cost for one in sums) == sum(one.cost for one in beats)
            assert sum((Counter(one.tools) for one in sums), Counter()) == names
            for name in ("memory_mb", "gap"):
                assert _most(sums, name) == _most(beats, name)


def _names(beat: Heartbeat) -> list[str]:
    return [call["name"] for call in (beat.content or {}).get("calls", ())][-beat.tool_calls :]


def _most(rows: list[Any], name: str) -> float | None:
    return max((value for row in rows if (value := getattr(row, name)) is not None), default=None)


def test_stories_can_be_generated(world: World) -> None:
    """Not every story is refused: this one leaves an incident and spend."""
    for at in range(5):
        beat({"agent": AGENTS[0], "cost_usd": 19.99, "status": "error", "message": "no"})(world, at)
    world.look(5)
    assert isinstance(world.offer(6), Answer)
    assert AgentState.objects.get(agent=world.agent(AGENTS[0])).cost_total == 5 * 19_990_000
    assert Incident.objects.exists()
