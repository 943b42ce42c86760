"""The hot path: durable before the answer, exactly once, few statements, group commit."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from agents.domain.heartbeat import Beat
from agents.domain.hot_row import Answer
from agents.domain.wire.decoding import decode
from agents.ingest import committer, write
from agents.ingest.fold import fold
from agents.ingest.write import Received
from agents.models import Agent, AgentMemory, AgentName, AgentState, Heartbeat
from agents.storage import hot_rows
from billing.services import set_plan
from teams.auth import Caller
from teams.errors import ApiError
from teams.models import Project, Team
from tests.agents.conftest import T0, World, in_threads
from tests.flows.installation import wait_until


def count_statements(captured: CaptureQueriesContext) -> tuple[int, int]:
    """Count working statements, and commits (savepoints within a test's transaction)."""
    # Django cannot tell the text of a prepared statement.
    texts = [(query["sql"] or "prepared").strip() for query in captured.captured_queries]
    framing = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")
    commits = sum(text.startswith(("COMMIT", "RELEASE")) for text in texts)
    return sum(not text.startswith(framing) for text in texts), commits


@pytest.mark.parametrize("fields", [{}, {"beat_id": "b-2", "message": "page 2", "cost_usd": 0.1}])
def test_heartbeat_takes_few_statements(world: World, fields: dict[str, Any]) -> None:
    world.beat(0)
    world.look(0)
    with CaptureQueriesContext(connection) as captured:
        world.beat(1, **fields)
    # SQLite writes the hot row and the heartbeat separately.
    assert count_statements(captured) == (2 if connection.vendor == "postgresql" else 3, 1)


def test_repeated_beat_id_gets_the_same_answer(world: World) -> None:
    world.beat(0, cost_limit_usd=1, cost_usd=2)
    world.look(1)
    first = world.beat(2, beat_id="b-1", cost_usd=0.5)
    assert first.warning == "cost_exceeded"
    assert world.beat(3, beat_id="b-1", cost_usd=0.5) == first
    assert (Heartbeat.objects.count(), world.state().cost_today) == (2, 2_500_000)


def test_beat_id_is_unique_across_midnight(world: World) -> None:
    midnight = 12 * 3600
    world.beat(midnight - 1, beat_id="b-1", tokens_used=5)
    world.beat(midnight + 1, beat_id="b-1", tokens_used=5)
    assert Heartbeat.objects.count() == 1


def gaps(world: World) -> list[float | None]:
    return list(Heartbeat.objects.filter(agent=world.agent()).order_by("id").values_list("gap", flat=True))


def test_gap_to_the_last_heartbeat_is_stored(world: World) -> None:
    for at in (0, 30, 31.5, 31.5, 4_000):
        world.beat(at)
    assert gaps(world) == [None, 30.0, 1.5, None, 3_968.5]


def test_no_gap_after_shutdown_or_clock_set_back(world: World) -> None:
    world.beat(0)
    world.beat(10, status="shutdown")
    world.beat(9_000)
    world.beat(30)
    world.beat(50)
    assert gaps(world) == [None, 10.0, None, None, 20.0]


def test_last_breath_of_a_crash_does_not_count(world: World) -> None:
    world.beat(0)
    world.beat(10, status="error", message="CRASH: KeyError: 'title'")
    world.beat(11)
    world.beat(40)
    assert gaps(world) == [None, 10.0, None, 30.0]


def test_beat_ids_are_per_agent(world: World) -> None:
    world.beat(0, agent="a", beat_id="1")
    world.beat(0, agent="b", beat_id="1")
    assert Heartbeat.objects.count() == 2


def received(world: World, *agents: str, **fields: Any) -> list[Received]:
    bodies = [Beat(agent=name, status="ok", **fields) for name in agents]
    return [Received(world.caller, beat, T0 + timedelta(seconds=1), "s") for beat in bodies]


def test_batch_of_one_agent_adds_up_in_order(world: World) -> None:
    outcomes = committer.submit(received(world, "a", "a", "b", "a", tokens_used=10))
    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    assert (world.state("a").beats, world.state("a").tokens_today) == (3, 30)


def test_beat_id_twice_in_one_batch_counts_once(world: World) -> None:
    outcomes = committer.submit(received(world, "a", "a", beat_id="1", tokens_used=10))
    assert outcomes[0] == outcomes[1]
    assert (Heartbeat.objects.count(), world.state("a").tokens_today) == (1, 10)


def test_poisoned_heartbeat_fails_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    committer.submit(received(world, "a", "b"))
    write = hot_rows.write

    def refuse_b(changes: hot_rows.Changes) -> None:
        if any(row["tokens"] == 13 for row in changes.beats):
            raise IntegrityError("poisoned")
        write(changes)

    monkeypatch.setattr(hot_rows, "write", refuse_b)
    poisoned = received(world, "b", tokens_used=13)
    outcomes = committer.submit([*received(world, "a", tokens_used=7), *poisoned])
    assert isinstance(outcomes[0], Answer)
    assert isinstance(outcomes[1], ApiError)
    assert (world.state("a").tokens_today, world.state("b").tokens_today) == (7, 0)


def test_bug_on_one_heartbeat_spares_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    committer.submit(received(world, "a", "b"))

    def broken(hot: Any, beat: Beat, *rest: Any) -> Any:
        return 1 / 0 if beat.message == "poison" else fold(hot, beat, *rest)

    monkeypatch.setattr("agents.ingest.write.fold", broken)
    poisoned = received(world, "b", message="poison")
    outcomes = committer.submit([*received(world, "a", tokens_used=7), *poisoned])
    assert isinstance(outcomes[0], Answer)
    assert isinstance(outcomes[1], ApiError)
    assert (world.state("a").tokens_today, world.state("b").beats) == (7, 1)


def test_copy_that_loses_the_race_gets_the_same_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.beat(0, beat_id="b-1", tokens_used=5)
    lock, blind = hot_rows.lock, [True]

    def too_early(*args: Any) -> Any:
        """The first lookup happens before the other copy is committed."""
        found = lock(*args)
        return {i: one._replace(stored_before=False) for i, one in found.items()} if blind and blind.pop() else found

    monkeypatch.setattr(hot_rows, "lock", too_early)
    assert isinstance(world.offer(0, beat_id="b-1", tokens_used=5), Answer)
    assert (Heartbeat.objects.count(), world.state().tokens_today) == (1, 5)


def test_database_outage_stores_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.beat(0)

    def away(changes: hot_rows.Changes) -> None:
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(hot_rows, "write", away)
    outcome = world.offer(1, tokens_used=5)
    assert (outcome.http_status, outcome.code, outcome.retry_after) == (503, "busy", 2)
    assert (world.state().beats, world.state().tokens_today) == (1, 0)


def test_plan_limits_new_agents_only(world: World) -> None:
    for name in ("a", "b", "c"):
        world.beat(0, agent=name)
    refused = world.offer(1, agent="d")
    assert (refused.http_status, refused.code) == (403, "agent_limit_reached")
    assert "Free plan" in refused.message
    world.beat(2, agent="a")
    assert Agent.objects.count() == 3


def test_alias_creates_no_agent(world: World) -> None:
    world.beat(0, agent="research-agent")
    AgentName.objects.create(project=world.project, name="research-agent.service", agent=world.agent("research-agent"))
    answer = world.beat(1, agent="research-agent.service")
    assert answer.agent_id == world.agent("research-agent").pk
    assert Agent.objects.count() == 1


def test_strict_mode_refuses_unknown_names(world: World) -> None:
    world.beat(0, agent="known")
    world.project.strict = True
    world.project.save()
    world.caller = Caller(**{**_fields(world.caller), "strict": True})
    assert world.offer(1, agent="unknown").code == "unknown_agent"
    world.beat(2, agent="known")


def _fields(caller: Caller) -> dict[str, Any]:
    return {name: getattr(caller, name) for name in Caller.__slots__}


def test_without_detail_only_sums_are_stored(world: World) -> None:
    one = Received(
        world.caller, decode(b'{"agent":"a","status":"ok","message":"m","tokens_used":3}'), T0, "s", detail=False
    )
    committer.submit([one])
    beat = Heartbeat.objects.get()
    assert (beat.tokens, beat.content) == (3, None)


# Several threads, each with its own connection


def test_concurrent_heartbeats_share_commits(live_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    live_world.beat(0)
    commits: list[int] = []
    commit = write.commit

    def slow(received: Any) -> Any:
        commits.append(len(received))
        if len(commits) == 1:
            wait_until(lambda: committer._committer.queued == 16, "the others wait")
        return commit(received)

    monkeypatch.setattr(committer, "PATIENCE", 60)
    monkeypatch.setattr(committer, "commit", slow)
    outcomes = in_threads(16, lambda number: committer.submit(received(live_world, "bot", tokens_used=1))[0])
    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    assert (Heartbeat.objects.count(), live_world.state().tokens_today) == (17, 16)
    assert len(commits) == 2
    assert sum(commits) == 16


@pytest.mark.postgres
def test_slow_commit_delays_only_its_own(live_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    live_world.beat(0)
    process, go_on, commit = live_world.process(), threading.Event(), write.commit

    def slow(received: Any) -> Any:
        if received[0].beat.message == "slow":
            go_on.wait(60)
        return commit(received)

    monkeypatch.setattr(committer, "commit", slow)
    held = process.start(received(live_world, "bot", message="slow"), lambda job: None)
    wait_until(lambda: process._at_work == 1, "the first lane is at work")
    assert isinstance(process.submit(received(live_world, "bot"))[0], Answer)
    assert held.missing == 1
    go_on.set()
    wait_until(lambda: held.missing == 0, "the slow one is stored")


def test_two_processes_count_a_budget_exactly(live_world: World) -> None:
    live_world.beat(0)

    def work(number: int) -> None:
        process = live_world.process()
        for _ in range(10):
            process.submit(received(live_world, "bot", cost_usd=0.01))

    in_threads(4, work)
    state = live_world.state()
    assert (state.beats, state.cost_today, Heartbeat.objects.count()) == (41, 400_000, 41)


def test_concurrent_first_heartbeats_respect_the_plan(live_world: World) -> None:
    outcomes = in_threads(6, lambda number: live_world.process().submit(received(live_world, f"bot-{number}"))[0])
    assert Agent.objects.count() == 3
    assert sum(isinstance(outcome, ApiError) for outcome in outcomes) == 3


def test_concurrent_first_heartbeats_create_one_agent(live_world: World) -> None:
    outcomes = in_threads(6, lambda number: live_world.process().submit(received(live_world, "bot"))[0])
    assert {outcome.agent_id for outcome in outcomes} == {live_world.agent().pk}
    assert AgentState.objects.get().beats == 6


def test_first_heartbeats_of_many_are_one_registration(live_world: World) -> None:
    set_plan(team=live_world.project.team, plan="enterprise", actor="test")
    outcomes = committer.submit(received(live_world, *[f"bot-{number}" for number in range(40)], "bot-0"))
    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    assert (Agent.objects.count(), live_world.state("bot-0").beats) == (40, 2)


def test_concurrent_copies_count_once(live_world: World) -> None:
    live_world.beat(0)
    in_threads(6, lambda number: live_world.process().submit(received(live_world, "bot", beat_id="x", tokens_used=5)))
    assert (Heartbeat.objects.count(), live_world.state().tokens_today) == (2, 5)


def test_full_queue_refuses_and_drains(live_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    live_world.beat(0)
    monkeypatch.setattr(committer, "MAX_QUEUE", 1)
    process, inside, go_on = live_world.process(), threading.Event(), threading.Event()
    commit = write.commit

    def slow(received: Any) -> Any:
        inside.set()
        go_on.wait(60)
        return commit(received)

    monkeypatch.setattr(committer, "commit", slow)

    def work(number: int) -> Any:
        if number:
            inside.wait(60)
        outcome = process.submit(received(live_world, "bot"))[0]
        if number:
            go_on.set()
        return outcome

    first, second = in_threads(2, work)
    assert isinstance(first, Answer)
    assert (second.http_status, second.retry_after) == (503, 2)
    assert isinstance(process.submit(received(live_world, "bot"))[0], Answer)


@pytest.mark.postgres
def test_lost_patience_is_503_and_stores_nothing(live_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    live_world.beat(0)
    process, go_on, commit = live_world.process(), threading.Event(), write.commit

    def slow(received: Any) -> Any:
        go_on.wait(60)
        return commit(received)

    monkeypatch.setattr(committer, "commit", slow)
    held = [process.start(received(live_world, "bot"), lambda job: None)]
    for _ in range(committer.LANES - 1):
        wait_until(lambda: process._at_work == len(held), "another lane is at work")
        held.append(process.start(received(live_world, "bot"), lambda job: None))
    wait_until(lambda: process._at_work == committer.LANES, "every lane is at work")
    monkeypatch.setattr(committer, "MAX_WAIT", 0)
    assert process.submit(received(live_world, "bot"))[0].http_status == 503  # type: ignore[union-attr]
    go_on.set()
    wait_until(lambda: process.queued == 0, "the queue is empty")
    assert Heartbeat.objects.count() == 1 + committer.LANES


@pytest.mark.postgres
def test_hot_row_updates_are_heap_only(live_world: World) -> None:
    """Also when each heartbeat brings a tool call, and the detector reads it."""
    live_world.beat(0, interval=600)
    live_world.look(1)
    before = hot_updates()
    for at in range(2, 202):
        calls = [{"name": "search", "args": f"page {at}"}]
        live_world.beat(at, message=f"page {at}", tokens_used=10, cost_usd=0.001, tool_call_log=calls)
        if at % 2:
            live_world.look(at)
    assert AgentMemory.objects.get().read_to == Heartbeat.objects.latest("id").pk
    after = hot_updates()
    updates, heap_only = after[0] - before[0], after[1] - before[1]
    assert updates == 300
    assert heap_only / updates >= 0.95


def hot_updates() -> tuple[int, int]:
    """Updates of hot rows, and how many of them were heap-only."""
    committer.close()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        wait_until(lambda: others(cursor) == 0, "the commit threads' connections are closed and counted")
        cursor.execute("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'agents_agentstate'")
        row: tuple[int, int] = cursor.fetchone()
    return row


def others(cursor: Any) -> int:
    cursor.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return int(cursor.fetchone()[0])


@pytest.mark.postgres
def test_heartbeat_waits_for_its_agents_review(live_world: World) -> None:
    """Its own only: other agents' heartbeats are stored meanwhile."""
    live_world.beat(0)
    live_world.beat(0, agent="other")
    thread = threading.Thread(target=in_threads, args=(1, lambda number: live_world.beat(5)))
    with transaction.atomic():
        AgentState.objects.select_for_update().get(agent=live_world.agent())
        thread.start()
        wait_until(lambda: committer._committer._locked, "the heartbeat waits")
        in_threads(1, lambda number: live_world.beat(6, agent="other"))
        assert thread.is_alive()
    thread.join(60)
    assert (live_world.state().beats, live_world.state("other").beats) == (2, 2)


@pytest.mark.postgres
@pytest.mark.parametrize("locked", [Team, Project])
def test_locked_team_delays_only_new_agents(live_world: World, locked: type[Team] | type[Project]) -> None:
    live_world.beat(0)
    thread = threading.Thread(target=in_threads, args=(1, lambda number: live_world.beat(5, agent="new")))
    with transaction.atomic():
        list(locked.objects.select_for_update())
        thread.start()
        wait_until(lambda: not committer._committer._waiting and committer._committer.queued == 1, "it waits")
        in_threads(1, lambda number: live_world.beat(6))
    thread.join(60)
    assert (live_world.state().beats, live_world.state("new").beats) == (2, 1)


@pytest.mark.postgres
def test_waiting_threads_hold_no_connection(live_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    live_world.beat(0)
    held: list[bool] = []
    monkeypatch.setattr(committer._committer, "submit", lambda received: held.append(connection.connection is None))

    def work(number: int) -> None:
        Agent.objects.count()  # like looking up an API key
        committer.submit(received(live_world, "bot"))

    in_threads(1, work)
    assert held == [True]
