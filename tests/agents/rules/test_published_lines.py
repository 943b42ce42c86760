"""How the published clients really behave and what follows for the server: one test per line, in the table's order.

SDK 0.4.0 sends no interval, version, instance, sequence or time. The runner has its own file.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from agents.domain.wire.decoding import decode
from agents.incidents import actions
from agents.ingest import committer, rate_limit
from agents.ingest.write import Received
from agents.models import Command, Heartbeat, Outage, Signal, Status
from agents.storage import outage_log
from tests.agents.api.conftest import caller
from tests.agents.conftest import T0, World

SOURCE = "1/10.0.0.1"
PROMPTS = [f"{number:016x}" for number in range(5)]
STUCK: dict[str, Any] = {"iteration_count": 7, "prompt_hashes": PROMPTS}
SEARCH: dict[str, Any] = {"name": "search_docs", "args": "query=release notes"}


def progress_of(world: World, agent: str = "bot") -> float | None:
    """The last progress, in seconds after T0."""
    at = world.state(agent).last_progress_at
    return None if at is None else (at - T0).total_seconds()


# A stuck main loop keeps sending `ok` heartbeats with its old count and its last five prompts


def test_resent_counters_are_no_progress(world: World) -> None:
    world.beat(0, **STUCK)
    world.beat(60, **STUCK)
    world.beat(120, **STUCK)
    assert progress_of(world) == 0


def test_stuck_loop_with_heartbeats_is_stalled(world: World) -> None:
    for at in range(0, 1900, 60):
        world.beat(at, **STUCK)
        world.look(at + 1)
    assert [incident.kind for incident in world.incidents()] == ["stalled"]


def test_resent_counters_are_no_loop(world: World) -> None:
    for at in range(0, 600, 10):
        assert world.beat(at, **STUCK).warning is None
        world.look(at + 1)
    assert world.incidents() == []


@pytest.mark.parametrize(
    "news",
    [
        {"message": "page 2 done"},
        {"iteration_count": 8},
        {"tokens_used": 1},
        {"cost_usd": 0.000001},
        {"tool_calls": 1},
        {"tool_call_log": [{"name": "fetch"}]},
        {"prompt_hashes": [*PROMPTS[1:], "f" * 16]},
    ],
    ids=lambda news: next(iter(news)),
)
def test_anything_new_is_progress(world: World, news: dict[str, Any]) -> None:
    world.beat(0, message="page 1 done", **STUCK)
    world.beat(60, **{**STUCK, **news})
    assert progress_of(world) == 60


def test_background_heartbeats_are_no_progress(world: World) -> None:
    for at in range(0, 300, 60):
        world.beat(at)
    assert progress_of(world) is None


# No heartbeat carries its interval


def test_ten_minute_interval_is_learned(world: World) -> None:
    for at in range(0, 8 * 600, 600):
        world.beat(at)
        world.watch(at + 1, at + 599)
    assert len(world.incidents()) <= 1
    assert world.state().usual_gap == pytest.approx(600)
    world.watch(8 * 600, 8 * 600 + 650)
    assert world.state().status == Status.DOWN


def test_busy_hour_does_not_shorten_the_interval(world: World) -> None:
    for at in (0, 600, 1200, 1205, 1210, 1215):
        world.beat(at)
    world.watch(1216, 1900)
    assert world.incidents() == []


# A POST that timed out is resent with the same body

SPENT: dict[str, Any] = {"tokens_used": 500, "cost_usd": 0.25}


def sums(world: World) -> tuple[int, int]:
    state = world.state()
    return state.tokens_today, state.cost_today


def test_copy_after_a_late_answer_counts_once(world: World) -> None:
    world.offer(0, waited=5.5, **SPENT)
    world.offer(5, waited=0.6, **SPENT)
    assert sums(world) == (500, 250_000)
    assert Heartbeat.objects.count() == 2


def test_copies_in_the_same_jam_count_once(world: World) -> None:
    with world.clock(9) as now:
        copies = [_received(world, now - timedelta(seconds=waited)) for waited in (9, 4)]
        committer.submit(copies)
    assert sums(world) == (500, 250_000)


def _received(world: World, at: Any, **fields: Any) -> Received:
    body = json.dumps({"agent": "bot", "status": "ok", **(fields or SPENT)}).encode()
    return Received(world.caller, decode(body), at, SOURCE)


def test_background_heartbeat_between_copies(world: World) -> None:
    with world.clock(9) as now:
        first, between, second = (now - timedelta(seconds=waited) for waited in (9, 6, 4))
        committer.submit([_received(world, first), _received(world, between, iteration_count=3)])
        committer.submit([_received(world, second)])
    assert sums(world) == (500, 250_000)


def test_two_equal_heartbeats_sent_twice_count_twice(world: World) -> None:
    with world.clock(21) as now:
        committer.submit([_received(world, now - timedelta(seconds=waited)) for waited in (20, 15, 10, 5)])
    assert sums(world) == (1000, 500_000)


@pytest.mark.parametrize("apart", [0.01, 1, 5, 60])
def test_legitimate_equal_heartbeat_counts(world: World, apart: float) -> None:
    world.offer(0, waited=0.01, **SPENT)
    world.offer(apart, waited=0.01, **SPENT)
    assert sums(world) == (1000, 500_000)


def test_equal_heartbeat_much_later_counts(world: World) -> None:
    world.offer(0, waited=5, **SPENT)
    world.offer(60, waited=0.01, **SPENT)
    assert sums(world) == (1000, 500_000)


def test_copy_still_shows_the_agent_is_alive(world: World) -> None:
    world.offer(0, waited=5.5, **SPENT)
    world.offer(5, waited=0.6, **SPENT)
    assert world.state().last_beat_at == T0 + timedelta(seconds=5)
    assert progress_of(world) == 0


# After both tries the client clears its counters, so that spend is lost


def test_outage_is_on_the_timeline(world: World, full_key: str) -> None:
    world.beat(0)
    for part, end in ((outage_log.EDGE, 50), (outage_log.DETECTOR, 40)):
        Outage.objects.create(part=part, started_at=T0 + timedelta(seconds=20), ended_at=T0 + timedelta(seconds=end))
    with world.clock(60):
        timeline = caller(full_key)("GET", f"agents/{world.agent().pk}/timeline").json()["results"]
    assert ["may be missing" in entry["text"] for entry in timeline] == [True, False]


# 429 and 5xx are retried at once, then the data is dropped


def test_over_the_rate_sums_are_still_stored(world: World, api_key: str) -> None:
    call = caller(api_key)
    with world.clock(0) as now:
        call("POST", "heartbeat", {"agent": "bot", "status": "ok"})
        rate_limit.count_beats(world.caller, rate_limit.plan_for(world.caller, now), 200, now)
        answer = call("POST", "heartbeat", {"agent": "bot", "status": "ok", "message": "hello", **SPENT})
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert sums(world) == (500, 250_000)
    assert Heartbeat.objects.latest("id").content is None


def test_error_over_the_rate_opens_an_incident(world: World) -> None:
    body = json.dumps({"agent": "bot", "status": "error", "message": "CRASH: OSError: no"}).encode()
    with world.clock(0) as now:
        committer.submit([Received(world.caller, decode(body), now, SOURCE, detail=False)])
    world.look(1)
    assert [incident.kind for incident in world.incidents()] == ["crash"]


def test_management_call_over_the_rate_is_refused(world: World, full_key: str) -> None:
    call = caller(full_key)
    with world.clock(0):
        answers = [call("GET", "agents") for _ in range(201)]
    assert {answer.status_code for answer in answers[:200]} == {200}
    assert (answers[200].status_code, answers[200]["Retry-After"]) == (429, "60")


# `ping()` blocks the agent's loop while the server hangs


def test_answer_waits_for_few_statements_only(world: World, django_assert_max_num_queries: Any) -> None:
    world.beat(0)
    with django_assert_max_num_queries(6):  # on SQLite four, and the savepoint of the test's transaction
        world.beat(1, status="error", message="CRASH: KeyError: 'x'", tool_call_log=[SEARCH] * 9)
    assert world.incidents() == []
    world.look(2)
    assert len(world.incidents()) == 1


# An open warning runs the callback at every heartbeat


def over_budget(world: World, at: float = 0) -> None:
    world.beat(at, cost_limit_usd=1.0, cost_usd=2.0)
    world.look(at + 1)


def looping(world: World, at: float = 0, calls: int = 6, **fields: Any) -> None:
    world.beat(at, tool_calls=calls, tool_call_log=[SEARCH] * calls, **fields)
    world.look(at + 1)


@pytest.mark.parametrize(("cause", "warning"), [(over_budget, "cost_exceeded"), (looping, "loop_detected")])
def test_open_warning_is_delivered_once(world: World, cause: Any, warning: str) -> None:
    cause(world)
    answers = [world.beat(2 + number / 2) for number in range(10)]
    assert [answer.warning for answer in answers] == [warning] + [None] * 9
    assert answers[0].reason
    assert answers[-1].incident


def test_warning_is_repeated_with_new_evidence(world: World) -> None:
    looping(world)
    assert world.beat(2).warning == "loop_detected"
    others = [{"name": "write_report", "args": f"part={number}"} for number in range(8)]
    world.beat(3, tool_calls=8, tool_call_log=others)
    world.look(4)
    assert world.beat(5).warning is None
    looping(world, 6)
    assert [world.beat(8).warning, world.beat(9).warning] == ["loop_detected", None]


def test_one_warning_per_answer(world: World) -> None:
    world.beat(0, cost_limit_usd=1, cost_usd=2, tool_calls=6, tool_call_log=[SEARCH] * 6)
    world.look(1)
    assert {world.beat(2).warning, world.beat(3).warning} == {"cost_exceeded", "loop_detected"}
    assert world.beat(4).warning is None


# `on_loop="stop"` is `os._exit(1)`, and a supervisor restarts the process


def test_restarted_process_survives_the_old_loop(world: World) -> None:
    looping(world, iteration_count=40)
    assert world.beat(2, iteration_count=40).warning == "loop_detected"
    assert [world.beat(at, iteration_count=at - 4).warning for at in (5, 6, 7)] == [None] * 3


def test_new_process_is_not_warned_of_the_old_loop(world: World) -> None:
    looping(world, iteration_count=40)
    assert world.beat(5, iteration_count=1).warning is None


def test_new_process_is_warned_of_its_own_loop(world: World) -> None:
    looping(world, iteration_count=40)
    world.beat(2, iteration_count=40)
    looping(world, 5, calls=1, iteration_count=1)
    assert world.kinds() == []
    looping(world, 10, calls=4, iteration_count=2)
    assert world.kinds() == ["loop"]
    assert world.beat(12, iteration_count=3).warning == "loop_detected"


def test_new_process_is_warned_of_the_budget(world: World) -> None:
    world.beat(0, cost_limit_usd=1.0, cost_usd=2.0, iteration_count=9)
    world.look(1)
    assert world.beat(2, iteration_count=9).warning == "cost_exceeded"
    answer = world.beat(5, iteration_count=1)
    assert (answer.warning, answer.hold) == ("cost_exceeded", True)
    assert world.beat(6, iteration_count=2).warning is None


# The first SIGTERM is swallowed


def test_heartbeat_after_shutdown_revives_the_agent(world: World) -> None:
    world.beat(0)
    world.beat(10, status="shutdown")
    world.watch(11, 400)
    assert (world.incidents(), world.state().status) == ([], Status.STOPPED)
    world.beat(401)
    world.look(402)
    assert world.state().status == Status.OK
    world.watch(403, 530)
    assert [incident.kind for incident in world.incidents()] == ["missed_heartbeat"]


def test_silence_after_shutdown_is_not_learned(world: World) -> None:
    for at in (0, 60, 120):
        world.beat(at)
    world.beat(130, status="shutdown")
    world.beat(9000)
    assert (world.state().usual_gap or 0) < 120


# A script that ends normally sends no `shutdown`


def test_finished_job_stays_closed_until_it_runs_again(world: World) -> None:
    world.beat(0)
    world.watch(1, 130)
    actions.resolve(incident=world.incidents()[0], actor="owner@example.com", now=T0 + timedelta(seconds=131))
    world.watch(132, 900)
    assert (len(world.incidents()), world.state().status) == (1, Status.STOPPED)
    world.beat(901)
    world.look(902)
    assert world.state().status == Status.OK


def test_one_call_resolves_it(world: World, full_key: str) -> None:
    world.beat(0)
    world.watch(1, 130)
    with world.clock(131):
        answer = caller(full_key)("POST", f"incidents/{world.incidents()[0].pk}/resolve")
    assert (answer.status_code, answer.json()["state"]) == (200, "resolved")
    world.look(132)
    assert world.state().status == Status.STOPPED


# A crash in the main thread sends `error`; one in a worker thread sends nothing

CRASH: dict[str, Any] = {
    "status": "error",
    "message": "CRASH: ValueError: no such page",
    "custom_data": json.dumps({"traceback": "Traceback …", "crash": True}),
}


def test_crash_and_silence_are_one_incident(world: World) -> None:
    world.beat(0)
    world.beat(5, **CRASH)
    world.look(6)
    (incident,) = world.incidents()
    assert (incident.kind, incident.severity) == ("crash", "critical")
    assert "Traceback" in str(Signal.objects.get().evidence)
    world.watch(7, 900)
    assert (len(world.incidents()), world.events()) == (1, ["opened"])


def test_background_heartbeat_is_no_recovery(world: World) -> None:
    world.beat(0)
    world.beat(5, **CRASH)
    world.beat(5.9, tokens_used=7)
    world.watch(6, 900)
    assert (len(world.incidents()), world.events()) == (1, ["opened"])
    assert (world.state().status, world.state().tokens_today) == (Status.DOWN, 7)


@pytest.mark.parametrize("after", [1.5, 60])
def test_restarted_process_recovers_from_its_crash(world: World, after: float) -> None:
    world.beat(0)
    world.beat(5, **CRASH)
    world.look(5.5)
    world.beat(5 + after)
    world.look(6 + after)
    assert (world.events(), world.state().status) == (["opened", "resolved"], Status.OK)


def test_crash_without_a_report_is_found_by_silence(world: World) -> None:
    world.beat(0)
    world.watch(1, 130)
    assert [incident.kind for incident in world.incidents()] == ["missed_heartbeat"]


# Sums are reported by the client


def test_tokens_are_stored_as_sent(world: World) -> None:
    world.beat(0, tokens_used=500)
    world.beat(60, tokens_used=7)
    assert world.state().tokens_today == 507


def test_reported_cost_is_stored_as_reported(world: World) -> None:
    world.beat(0, tokens_used=1_000_000, cost_usd=0)
    world.beat(60, tokens_used=10, cost_usd=12.345678)
    assert sums(world) == (1_000_010, 12_345_678)
    beats = Heartbeat.objects.order_by("id").values_list("tokens", "cost")
    assert list(beats) == [(1_000_000, 0), (10, 12_345_678)]


# `monitored_node` and the AutoGen hook send the same message at every step


def test_repeated_text_alone_has_no_consequences(world: World) -> None:
    for at in range(0, 300, 5):
        answer = world.beat(at, message="node: research")
        world.look(at + 1)
        assert (answer.warning, answer.hold) == (None, False)
    assert world.incidents() == []
    assert not Command.objects.exists()


def test_repeated_text_is_no_progress(world: World) -> None:
    world.beat(0, message="node: research")
    world.beat(60, message="node: research")
    assert progress_of(world) == 0
    world.beat(120, message="node: research", tokens_used=5)
    assert progress_of(world) == 120
