"""Several workers sweep concurrently."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from agents import tasks
from agents.fleet import services
from agents.incidents import lifecycle
from agents.models import Agent, AgentState, Incident, IncidentEvent, MonthSpend, Pulse, Signal, Unread
from agents.review import review
from agents.storage import monthly_spend, outage_log
from alerts.models import Delivery
from alerts.services import create_channel
from billing.models import Subscription
from teams.models import Project
from tests.agents.conftest import T0, World, in_threads
from tests.flows.installation import wait_until


def many(world: World, count: int, *, source: str) -> None:
    Subscription.objects.create(team=world.project.team, plan="enterprise")
    for number in range(count):
        assert world.offer(0, agent=f"bot-{number}", source=source.format(number), interval=10)
    Pulse.objects.update_or_create(name=outage_log.DETECTOR, defaults={"at": T0 + timedelta(seconds=24)})


@pytest.mark.parametrize("chunk", [1000, 3])
def test_concurrent_sweeps_open_one_incident_each(
    live_world: World, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(review, "CHUNK", chunk)
    monkeypatch.setattr("agents.domain.silent_groups.MIN_PROJECT", 1000)
    many(live_world, 20, source="{}/10.0.0.1")
    in_threads(4, lambda number: review.sweep(T0 + timedelta(seconds=25)))
    assert Incident.objects.count() == 20
    assert IncidentEvent.objects.filter(kind="opened").count() == 20
    assert Signal.objects.filter(cleared_at__isnull=True).count() == 20


def test_concurrent_sweeps_group_a_host_once(live_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review, "CHUNK", 3)
    many(live_world, 20, source="1/10.0.0.1")
    in_threads(4, lambda number: review.sweep(T0 + timedelta(seconds=25)))
    assert Incident.objects.count() == 1
    assert IncidentEvent.objects.filter(kind="opened").count() == 1
    assert Signal.objects.count() == 20


def test_concurrent_sweeps_record_an_outage_once(live_world: World) -> None:
    Pulse.objects.create(name=outage_log.DETECTOR, at=T0)
    in_threads(4, lambda number: outage_log.tick(outage_log.DETECTOR, T0 + timedelta(seconds=60)))
    assert len(outage_log.outages(T0 + timedelta(seconds=60))) == 1


@pytest.mark.postgres
def test_a_heartbeat_in_flight_is_no_false_alarm(live_world: World) -> None:
    """The heartbeat holds the row lock when the sweep starts, and commits before the review."""
    live_world.beat(0, interval=10)
    live_world.look(1)
    locked, swept = threading.Event(), threading.Event()

    def beat() -> None:
        with transaction.atomic():
            state = AgentState.objects.select_for_update().get(agent=live_world.agent())
            locked.set()
            swept.wait(60)
            state.last_beat_at = T0 + timedelta(seconds=24)
            state.save()
        connections.close_all()

    thread = threading.Thread(target=beat)
    thread.start()
    locked.wait(60)
    live_world.look(25)
    swept.set()
    thread.join(60)
    live_world.look(26)
    assert live_world.incidents() == []


@pytest.mark.postgres
def test_the_review_sees_the_committed_heartbeat(live_world: World) -> None:
    """The review waits for a heartbeat's lock, so it must see what the heartbeat wrote."""
    live_world.beat(0, interval=10)
    live_world.look(1)
    agent_id = live_world.agent().pk
    done = threading.Event()

    def judge() -> None:
        review.review([agent_id], T0 + timedelta(seconds=25))
        connections.close_all()
        done.set()

    with transaction.atomic():
        state = AgentState.objects.select_for_update().get(agent_id=agent_id)
        thread = threading.Thread(target=judge)
        thread.start()
        assert not done.wait(0.3)
        state.last_beat_at = T0 + timedelta(seconds=24)
        state.save()
    thread.join(60)
    assert done.is_set()
    assert live_world.incidents() == []


def meanwhile(world: World, at: float, first: str, second: str) -> None:
    """One worker has reviewed an agent but not committed when another one comes to the second agent: it waits for no
    lock, and leaves that agent to the next sweep."""
    now = T0 + timedelta(seconds=at)
    ids = [world.agent(name).pk for name in (first, second)]
    with transaction.atomic():
        review.review(ids[:1], now)
        thread = threading.Thread(target=in_threads, args=(1, lambda number: review.review(ids[1:], now)))
        thread.start()
        thread.join(60)
        assert not thread.is_alive()
    world.look(at + 1)


@pytest.mark.postgres
def test_concurrent_recoveries_close_a_shared_incident(live_world: World) -> None:
    for name in ("a", "b"):
        live_world.beat(0, name, interval=10)
    live_world.look(21)
    for name in ("a", "b"):
        live_world.beat(22, name)
    meanwhile(live_world, 23, "a", "b")
    assert live_world.events() == ["opened", "resolved"]


@pytest.mark.postgres
def test_a_signal_during_recovery_opens_another(live_world: World) -> None:
    for name in ("a", "b"):
        live_world.beat(0, name, interval=10)
    live_world.look(21)
    named = live_world.incidents()[0].agent.name
    other = "b" if named == "a" else "a"
    live_world.beat(22, named)
    live_world.look(23)
    live_world.beat(24, other)
    live_world.beat(24, named, status="error", message="disk full")
    meanwhile(live_world, 25, other, named)
    assert [(one.kind, one.state) for one in live_world.incidents()] == [
        ("missed_heartbeat", "resolved"),
        ("error", "open"),
    ]
    assert live_world.kinds(named) == ["error"]


# Heartbeats wait for the rows a review holds, so it waits for nothing


def sweep_beside(world: World, at: float, *, busy: Any) -> None:
    """A sweep while another transaction holds a row. It ends, and leaves its agents to the next one."""
    with transaction.atomic():
        list(busy.select_for_update())
        thread = threading.Thread(target=in_threads, args=(1, lambda number: world.look(at)))
        thread.start()
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.postgres
def test_a_sweep_waits_for_no_project(live_world: World) -> None:
    live_world.beat(0, interval=10)
    sweep_beside(live_world, 21, busy=Project.objects.all())
    assert live_world.incidents() == []
    live_world.look(22)
    assert live_world.kinds() == ["missed_heartbeat"]


@pytest.mark.postgres
def test_a_sweep_waits_for_no_incident(live_world: World) -> None:
    live_world.beat(0, interval=10)
    live_world.look(21)
    live_world.beat(22)
    sweep_beside(live_world, 23, busy=Incident.objects.all())
    assert live_world.events() == ["opened"]
    live_world.look(24)
    assert live_world.events() == ["opened", "resolved"]


@pytest.mark.postgres
def test_a_sweep_waits_for_no_month(live_world: World) -> None:
    Project.objects.update(monthly_budget_usd=10)
    live_world.beat(0, cost_usd=1)
    live_world.look(1)
    live_world.beat(2, cost_usd=20)
    AgentState.objects.update(check_at=T0)
    sweep_beside(live_world, 3, busy=MonthSpend.objects.all())
    assert live_world.incidents() == []
    live_world.look(4)
    assert live_world.kinds() == ["cost"]


@pytest.mark.postgres
def test_a_sweep_passes_over_locked_rows(live_world: World) -> None:
    for name in ("a", "b"):
        live_world.beat(0, name, source=name, interval=10)
    sweep_beside(live_world, 21, busy=AgentState.objects.filter(agent__name="a"))
    assert (live_world.kinds("a"), live_world.kinds("b")) == ([], ["missed_heartbeat"])
    live_world.look(22)
    assert live_world.kinds("a") == ["missed_heartbeat"]


@pytest.mark.postgres
def test_a_crossed_budget_waits_without_locks(live_world: World) -> None:
    """All agents of the project are to be reviewed; one of them is locked meanwhile."""
    for name in ("a", "b"):
        live_world.beat(0, name)
    live_world.look(1)
    project, now = {live_world.project.pk}, T0 + timedelta(seconds=2)
    with transaction.atomic():
        list(AgentState.objects.select_for_update().filter(agent__name="b"))
        thread = threading.Thread(target=in_threads, args=(1, lambda number: monthly_spend.look(project, now)))
        thread.start()
        wait_until(lambda: live_world.state("a").check_at == now, "the free agent is due")
        AgentState.objects.select_for_update(nowait=True).get(agent__name="a")
    thread.join(60)
    assert live_world.state("b").check_at == now


def test_one_process_runs_one_sweep(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick during a sweep starts no second one beside it: the next follows at once, and without a tick none does."""
    running = [0]
    seen: list[int] = []

    def sweep(now: Any) -> None:
        running[0] += 1
        seen.append(running[0])
        if len(seen) < 3:
            tasks.sweep()
        running[0] -= 1

    monkeypatch.setattr(review, "sweep", sweep)
    tasks.sweep()
    assert seen == [1, 1, 1]
    tasks.sweep()
    assert seen == [1, 1, 1, 1]


def test_a_failing_chunk_is_reviewed_one_by_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("good", "bad", "fine"):
        world.beat(0, name, source=name, interval=10)
    opened, bad = lifecycle.opened, world.agent("bad")

    def fail(ledger: Any, agent: Agent, *given: Any) -> Any:
        return 1 / 0 if agent == bad else opened(ledger, agent, *given)

    monkeypatch.setattr("agents.domain.silent_groups.MIN_PROJECT", 1000)
    monkeypatch.setattr(lifecycle, "opened", fail)
    world.look(21)
    assert [incident.agent.name for incident in world.incidents()] == ["good", "fine"]
    assert world.state("bad").check_at == T0 + timedelta(seconds=81)


# Reviews that are behind


def test_the_oldest_unread_comes_first(world: World, reviewed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review, "CHUNK", 1)
    for name in ("a", "b", "c"):
        world.beat(0, agent=name, message="step", tokens_used=5)
    for second, name in enumerate(("c", "a", "b")):
        Unread.objects.filter(agent=world.agent(name)).update(since=T0 + timedelta(seconds=second))
    world.look(1)
    assert reviewed == ["c", "a", "b"]


def test_unread_heartbeats_set_the_deadline(world: World) -> None:
    """They count for the clocks at once, not when the rules read them."""
    world.beat(0)
    world.look(1)
    world.beat(5, interval=10, message="step", tokens_used=5)
    assert world.state().check_at == T0 + timedelta(seconds=25)


# The cost of a sweep


def statements_of(world: World, at: float) -> int:
    with CaptureQueriesContext(connection) as queries:
        world.look(at)
    return len(queries)


def test_due_agents_cost_less_than_a_statement(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.domain.silent_groups.MIN_PROJECT", 1000)
    many(world, 200, source="{}/10.0.0.1")
    config = {"url": "https://hooks.example.com/x"}
    create_channel(project=world.project, kind="webhook", name="hook", config=config, actor="x")
    silent = statements_of(world, 25)
    assert (Incident.objects.open().count(), Delivery.objects.count()) == (200, 200)
    standing = statements_of(world, 86)
    assert Signal.objects.filter(reason__contains="86 seconds").count() == 200
    AgentState.objects.update(last_beat_at=T0 + timedelta(seconds=90), check_at=T0 + timedelta(seconds=90))
    recovered = statements_of(world, 91)
    assert (Incident.objects.open().count(), Delivery.objects.count()) == (0, 400)
    assert max(silent, standing, recovered) < 200


def test_a_silent_host_costs_less_than_a_statement(world: World) -> None:
    many(world, 200, source="1/10.0.0.1")
    assert statements_of(world, 25) < 200
    (incident,) = world.incidents()
    assert incident.signals.count() == 200
    # Chunks join one after another, which is no news.
    assert world.events() == ["opened"]


def test_silence_is_judged_without_reading_the_project(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    many(world, 100, source="{}/10.0.0.1")
    world.look(1)
    Agent.objects.update(interval=600)
    for name in ("bot-0", "bot-1", "bot-2"):
        Agent.objects.filter(name=name).update(interval=10)
    AgentState.objects.filter(agent__interval=600).update(check_at=T0 + timedelta(seconds=900))
    read: list[Any] = []
    made: Any = AgentState.from_db

    def counted(*given: Any) -> Any:
        read.append(given)
        return made(*given)

    monkeypatch.setattr(AgentState, "from_db", counted)
    world.look(25)
    assert [incident.together for incident in world.incidents()] == [False, False, False]
    assert len(read) < 20


@pytest.mark.postgres
def test_pausing_waits_for_the_hot_row_without_locks(live_world: World) -> None:
    """Deleting and resolving lock the hot row before the agent: any other order would deadlock."""
    live_world.beat(0)
    agent = live_world.agent()
    pause = lambda number: services.pause(agent=Agent.objects.get(pk=agent.pk), actor="x", now=T0)  # noqa: E731
    with transaction.atomic():
        AgentState.objects.select_for_update().get(agent=agent)
        thread = threading.Thread(target=in_threads, args=(1, pause))
        thread.start()
        thread.join(0.3)
        Agent.objects.select_for_update(nowait=True).get(pk=agent.pk)
    thread.join(60)
    assert live_world.agent().paused_at == T0


def test_the_sweep_uses_its_index(world: World) -> None:
    world.beat(0)
    sql = "SELECT agent_id FROM agents_agentstate WHERE check_at <= %s ORDER BY check_at LIMIT 1000"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(f"EXPLAIN {sql}", [T0])
        else:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}", [T0.replace(tzinfo=None).isoformat(" ")])
        plan: list[Any] = cursor.fetchall()
    assert "state_due" in str(plan)
