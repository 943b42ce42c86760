"""The sending side, with a fake server and clock, so that hours pass in a moment."""

from __future__ import annotations

import contextlib
import functools
import os
import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clevagent.spool import Place
from clevagent.transport import Answer

from tests.client_sdk.typescript import npm
from tests.client_sdk.wire import Agent, Node, Server, TypeScriptAgent

# Starts an agent of the Python or the TypeScript client.
Start = Callable[..., Any]


@pytest.fixture(scope="module")
def runtimes() -> Iterator[Callable[[str], Node]]:
    """The process of each JavaScript runtime, started when it is first needed."""
    with contextlib.ExitStack() as running:

        @functools.cache
        def started(name: str) -> Node:
            return running.enter_context(contextlib.closing(Node(npm.runtime(name))))

        yield started


# The others are downloaded.
OTHERS = [pytest.param(name, marks=pytest.mark.live) for name in npm.RUNTIMES if name != "node"]


@pytest.fixture(params=["python", "node", *OTHERS])
def start(request: pytest.FixtureRequest, runtimes: Callable[[str], Node]) -> Start:
    """The clients say the same, the TypeScript client in each runtime."""
    if request.param == "python":
        return Agent
    return lambda server, **options: TypeScriptAgent(runtimes(request.param), server, **options)


@pytest.fixture
def server() -> Server:
    return Server()


def statuses(server: Server) -> list[str]:
    return [beat["status"] for beat in server.order]


def test_heartbeats_start_immediately(start: Start, server: Server) -> None:
    agent = start(server)
    agent.step()
    assert len(server.order) == 1
    agent.let_pass(29.9)
    assert len(server.order) == 1
    agent.let_pass(0.2)
    assert [beat["seq"] for beat in server.order] == [1, 2]


def test_pings_are_coalesced(start: Start, server: Server) -> None:
    agent = start(server)
    agent.step()
    for _ in range(1000):
        agent.now += 0.0009
        agent.client.ping(message="on it", tokens_used=2)
        agent.step()
    agent.let_pass(1)
    assert len(server.order) == 2
    assert server.order[1]["tokens_used"] == 2000
    assert server.order[1]["progress"] is True


def test_errors_get_their_own_heartbeat(start: Start, server: Server) -> None:
    agent = start(server)
    agent.let_pass(5)
    agent.client.ping("error", "no network")
    agent.client.ping("error", "still none")
    agent.let_pass(20)
    assert statuses(server) == ["ok", "error", "error"]
    assert [beat.get("message") for beat in server.order[1:]] == ["no network", "still none"]


def test_many_errors_are_batched(start: Start, server: Server) -> None:
    agent = start(server)
    agent.let_pass(5)
    for number in range(3000):
        agent.client.ping("error", f"no {number}", cost_usd=0.001)
        agent.now += 0.001
        agent.step()
    agent.let_pass(1)
    assert server.order[1]["message"] == "no 0"
    assert server.requests < 10
    assert len(server.order) < 100
    assert server.cost() == 3


def test_progress_age_is_reported_while_idle(start: Start, server: Server) -> None:
    agent = start(server)
    agent.step()
    agent.client.ping()
    agent.let_pass(100)
    assert [beat["progress"] for beat in server.order[1:]] == [True, False, False, False]
    assert [beat.get("progress_age") for beat in server.order[1:]] == [None, 30.9, 60.9, 90.9]


def test_undeclared_progress_is_left_to_the_server(start: Start, server: Server) -> None:
    agent = start(server)
    agent.client.log_cost(5, 0.1)
    agent.let_pass(100)
    assert len(server.order) == 4
    assert not any("progress" in beat or "progress_age" in beat for beat in server.order)


def test_late_progress_is_reported_by_age(start: Start, server: Server) -> None:
    agent = start(server)
    agent.let_pass(1)
    server.away = True
    agent.client.ping(message="moved")
    agent.let_pass(3000)
    server.away = False
    agent.let_pass(90)
    moved = next(beat for beat in server.order if beat.get("message") == "moved")
    assert moved["progress"] is False
    assert moved["progress_age"] > 2900


def test_hour_long_outage_loses_no_spend(start: Start) -> None:
    chance = random.Random(7)
    for number in range(50 if start is Agent else 5):  # each call of the other is two lines between processes
        server, spent, tokens = Server(), Decimal(0), 0
        agent = start(server, agent=f"bot{number}")
        for minute in range(80):
            server.away = 10 <= minute < 70
            server.loses_answers = minute in (9, 70)  # stored, but the answer is lost: it is sent again
            for _ in range(chance.randrange(4)):
                cost = Decimal(chance.randrange(1, 10_000_000)).scaleb(-7)
                agent.client.log_cost(tokens=chance.randrange(5000), cost_usd=float(cost))
                spent += cost
            agent.client.log_usage(model="gpt-5", input_tokens=minute, output_tokens=1)
            tokens += minute + 1
            agent.let_pass(60)
        server.loses_answers = False
        agent.client.log_cost(0, 0)
        agent.finish()
        assert round(server.cost(), 2) == round(spent, 2)
        assert spent - Decimal("0.000001") < server.cost() <= spent
        assert used(server) == tokens


def used(server: Server) -> int:
    uses = [use for beat in server.order for use in beat.get("usage", [])]
    return sum(use.get("input_tokens", 0) + use["output_tokens"] for use in uses)


def test_outage_keeps_spend_per_hour(start: Start, server: Server) -> None:
    agent = start(server)
    server.away = True
    for _ in range(120):
        agent.client.log_cost(1, 0.01)
        agent.let_pass(60)
    server.away = False
    agent.let_pass(120)
    assert server.cost() == Decimal("1.2")
    hours = {beat["sent_at"][11:13] for beat in server.order if beat.get("cost_usd")}
    assert len(hours) == 3


def test_pings_do_not_retry_during_an_outage(start: Start, server: Server) -> None:
    agent = start(server)
    server.away = True
    for _ in range(600):
        agent.client.ping()
        agent.let_pass(1)
    assert server.requests < 30


@pytest.mark.parametrize("status", [401, 403, 404, 405, 429, 500, 503])
def test_temporary_refusal_is_retried(start: Start, server: Server, status: int) -> None:
    agent = start(server)
    server.says = lambda beat: Answer(status, {"error": {"code": "any", "message": "not now"}})
    agent.client.log_cost(1, 0.5)
    agent.let_pass(300)
    server.says = lambda beat: None
    agent.let_pass(120)
    assert server.cost() == Decimal("0.5")


def test_reporter_respects_retry_after(start: Start, server: Server) -> None:
    agent = start(server)
    server.says = lambda beat: Answer(429, {}, retry_after=40)
    agent.step()
    assert server.requests == 1
    agent.let_pass(39)
    assert server.requests == 1
    agent.let_pass(2)
    assert server.requests == 2


def test_refused_heartbeat_sends_its_totals(start: Start, server: Server) -> None:
    agent = start(server)
    agent.step()
    server.says = lambda beat: (
        Answer(422, {"error": {"code": "invalid", "message": "no"}}) if beat.get("message") else None
    )
    agent.client.ping(message="odd", cost_usd=0.25)
    agent.let_pass(2)
    assert server.order[-1]["cost_usd"] == 0.25
    assert "message" not in server.order[-1]
    assert agent.unsent() == 0


@pytest.mark.parametrize("whole", [True, False])
def test_bad_heartbeat_does_not_block_its_batch(start: Start, server: Server, whole: bool) -> None:
    """Refuse one heartbeat in its result, or the whole request."""
    agent = start(server)
    server.away = True
    for message in ("good", "bad", "good"):
        agent.client.ping("warning", message, cost_usd=0.1)
    agent.let_pass(1)
    server.away, inner = False, server.request
    error = {"error": {"code": "invalid", "message": "no"}}
    server.says = lambda beat: Answer(422, error) if beat.get("message") == "bad" else None

    def refuse_many(method: str, path: str, body: Any = None) -> Answer:
        return Answer(413, error) if path.endswith("/batch") else inner(method, path, body)

    if whole:
        server.request = refuse_many  # type: ignore[method-assign]
    agent.let_pass(10)
    assert sorted(str(beat.get("message")) for beat in server.order) == ["None", "good", "good"]
    assert server.cost() == Decimal("0.3")


def test_finish_ignores_the_retry_delay(start: Start, server: Server) -> None:
    agent = start(server)
    server.away = True
    agent.client.log_cost(1, 0.5)
    agent.let_pass(100)
    server.away = False
    agent.say_goodbye()
    agent.finish()
    assert statuses(server)[-1] == "shutdown"
    assert server.cost() == Decimal("0.5")
    assert agent.unsent() == 0


def test_counts_after_a_crash_keep_its_status(start: Start, server: Server) -> None:
    agent = start(server)
    agent.step()
    agent.crash(ValueError("boom"))
    agent.client.log_cost(1, 0.5)
    agent.let_pass(40)
    assert statuses(server) == ["ok", "error", "error"]
    assert server.order[-1]["message"] == "CRASH: ValueError: boom"


def test_wait_is_reported_until_progress(start: Start, server: Server) -> None:
    agent = start(server)
    agent.let_pass(5)
    agent.client.waiting("approval", until=3600)
    agent.let_pass(40)
    agent.client.ping()
    agent.let_pass(40)
    waits = [beat.get("waiting", "not said") for beat in server.order]
    assert [wait["for"] for wait in waits[1:3]] == ["approval", "approval"]
    assert waits[3:] == [None, "not said"]


def test_labels_are_sent_once_settings_always(start: Start, server: Server) -> None:
    agent = start(server, labels={"team": "research"}, cost_limit_usd=25.0, progress_timeout=600.0, agent_type="openai")
    agent.let_pass(40)
    first, second = server.order
    assert (first["labels"], "labels" in second) == ({"team": "research"}, False)
    for name, value in {"cost_limit_usd": 25.0, "progress_timeout": 600.0, "agent_type": "openai"}.items():
        assert first[name] == second[name] == value


@pytest.mark.parametrize("name", ["host", "hostname", "host.name", "node"])
def test_label_of_the_host_is_sent_always(start: Start, server: Server, name: str) -> None:
    """Behind a proxy, and in a container, nothing else tells the server which agents share a host."""
    agent = start(server, labels={"team": "research", name: "rack-7"})
    agent.let_pass(100)
    assert [beat.get("labels") for beat in server.order[1:]] == [{name: "rack-7"}] * 3


class TestChild:
    """A forked child, which resets in the middle of its parent's work."""

    def test_idle_child_reports_nothing(self, server: Server) -> None:
        agent = Agent(server)
        agent.client.log_cost(1, 0.5)  # for the parent to report
        agent.client.reset_after_fork()
        agent.client._is_main = lambda: False  # type: ignore[method-assign]
        agent.reporter._is_main = lambda: False
        agent.let_pass(300)
        assert server.order == []

    def test_child_reports_its_own_work(self, server: Server) -> None:
        agent = Agent(server)
        agent.client.reset_after_fork()
        agent.reporter._is_main = lambda: False
        agent.client.log_cost(1, 0.25)
        agent.let_pass(300)
        assert [beat.get("cost_usd") for beat in server.order] == [0.25]

    def test_orphaned_child_becomes_the_agent(self, server: Server) -> None:
        agent = Agent(server)
        agent.client.pid = -1
        agent.client.reset_after_fork()
        assert agent.client._is_main()
        agent.let_pass(65)
        assert [beat["seq"] for beat in server.order] == [1, 2, 3]


class TestSpool:
    def test_next_process_sends_the_spool(self, server: Server, tmp_path: Path) -> None:
        first = Agent(server, spool=Place(tmp_path / "spool", stores_at_once=True))
        server.away = True
        first.client.log_cost(1, 0.5)
        first.let_pass(100)
        kept = {beat.fields["beat_id"] for beat in first.reporter.outbox}
        end_of_process(first)
        server.away = False
        Agent(server, spool=Place(tmp_path / "spool", stores_at_once=True)).let_pass(1)
        assert server.cost() == Decimal("0.5")
        assert kept < set(server.beats)

    def test_spend_is_spooled_within_seconds(self, server: Server, tmp_path: Path) -> None:
        agent = Agent(server, spool=Place(tmp_path / "spool", stores_at_once=True))
        agent.let_pass(1)
        server.away = True
        agent.client.log_cost(1, 0.5)
        agent.let_pass(6)
        end_of_process(agent)
        server.away = False
        Agent(server, spool=Place(tmp_path / "spool", stores_at_once=True)).let_pass(1)
        assert server.cost() == Decimal("0.5")

    def test_accepted_heartbeats_leave_no_spool(self, server: Server, tmp_path: Path) -> None:
        agent = Agent(server, spool=Place(tmp_path / "spool", stores_at_once=True))
        agent.client.log_cost(1, 0.5)
        agent.let_pass(40)
        agent.reporter.close()
        assert list(tmp_path.iterdir()) == []

    def test_spool_of_a_living_process_is_left_alone(self, server: Server, tmp_path: Path) -> None:
        first, second = (Agent(server, spool=Place(tmp_path / "spool", stores_at_once=True)) for _ in range(2))
        server.away = True
        first.client.log_cost(1, 0.5)
        first.let_pass(10)
        server.away = False
        second.let_pass(1)
        assert server.cost() == 0
        first.let_pass(120)
        assert server.cost() == Decimal("0.5")

    def test_incomplete_spool_line_is_skipped(self, server: Server, tmp_path: Path) -> None:
        (tmp_path / "spool.old").write_text('{"beat_id": "a", "agent": "bot", "cost_usd": 0.5}\n{"beat_id": "b", "ag')
        Agent(server, spool=Place(tmp_path / "spool", stores_at_once=True)).let_pass(1)
        assert server.cost() == Decimal("0.5")
        assert not (tmp_path / "spool.old").exists()

    def test_unwritable_spool_stops_nothing(self, server: Server, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        agent = Agent(server, spool=Place(tmp_path / "file" / "spool", stores_at_once=True))
        agent.client.log_cost(1, 0.5)
        agent.let_pass(1)
        assert server.cost() == Decimal("0.5")

    def test_file_is_private_to_its_owner(self, server: Server, tmp_path: Path) -> None:
        agent = Agent(server, spool=Place(tmp_path / "spool", stores_at_once=True))
        agent.step()
        assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]


def end_of_process(agent: Agent) -> None:
    """Like kill -9: the lock is released, the file remains."""
    spool = agent.reporter.spool
    assert spool
    assert spool._file is not None
    os.close(spool._file)
