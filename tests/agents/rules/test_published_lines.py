"""What the published clients really do, and what follows for the server: each line a test, in the order of the table.

SDK 0.4.0 sends no interval, version, instance, sequence or time. The runner has a file of its own.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from agents.domain.heartbeat import decode
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
    """Seconds after T0 of the last progress."""
    at = world.state(agent).last_progress_at
    return None if at is None else (at - T0).total_seconds()


# A stuck main loop keeps sending `ok` beats with the old count and the old five prompts


def test_a_re_sent_count_and_window_are_no_progress(world: World) -> None:
    world.beat(0, **STUCK)
    world.beat(60, **STUCK)
    world.beat(120, **STUCK)
    assert progress_of(world) == 0


def test_a_stuck_loop_that_keeps_beating_is_stalled(world: World) -> None:
    for at in range(0, 1900, 60):
        world.beat(at, **STUCK)
        world.look(at + 1)
    assert [incident.kind for incident in world.incidents()] == ["stalled"]


def test_a_re_sent_count_and_window_are_no_repeat(world: World) -> None:
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


def test_an_agent_that_only_says_that_it_is_there_never_shows_progress(world: World) -> None:
    for at in range(0, 300, 60):
        world.beat(at)
    assert progress_of(world) is None


# No beat carries its interval


def test_an_agent_that_beats_every_ten_minutes_is_learned_and_then_never_flaps(world: World) -> None:
    for at in range(0, 8 * 600, 600):
        world.beat(at)
        world.watch(at + 1, at + 599)
    assert len(world.incidents()) <= 1
    assert world.state().usual_gap == pytest.approx(600)
    world.watch(8 * 600, 8 * 600 + 650)
    assert world.state().status == Status.DOWN


def test_a_slow_agent_s_busy_hour_does_not_teach_it_impatience(world: World) -> None:
    for at in (0, 600, 1200, 1205, 1210, 1215):
        world.beat(at)
    world.watch(1216, 1900)
    assert world.incidents() == []


# A POST that timed out is sent again with the same body

SPENT: dict[str, Any] = {"tokens_used": 500, "cost_usd": 0.25}


def sums(world: World) -> tuple[int, int]:
    state = world.state()
    return state.tokens_today, state.cost_today


def test_the_second_copy_after_a_late_first_answer_is_counted_once(world: World) -> None:
    world.offer(0, waited=5.5, **SPENT)
    world.offer(5, waited=0.6, **SPENT)
    assert sums(world) == (500, 250_000)
    assert Heartbeat.objects.count() == 2


def test_two_copies_that_waited_in_the_same_jam_are_counted_once(world: World) -> None:
    with world.clock(9) as now:
        copies = [_received(world, now - timedelta(seconds=waited)) for waited in (9, 4)]
        committer.submit(copies)
    assert sums(world) == (500, 250_000)


def _received(world: World, at: Any, **fields: Any) -> Received:
    body = json.dumps({"agent": "bot", "status": "ok", **(fields or SPENT)}).encode()
    return Received(world.caller, decode(body), at, SOURCE)


def test_a_background_beat_between_the_two_copies_changes_nothing(world: World) -> None:
    with world.clock(9) as now:
        first, between, second = (now - timedelta(seconds=waited) for waited in (9, 6, 4))
        committer.submit([_received(world, first), _received(world, between, iteration_count=3)])
        committer.submit([_received(world, second)])
    assert sums(world) == (500, 250_000)


def test_of_two_equal_beats_that_were_each_sent_twice_both_are_counted(world: World) -> None:
    with world.clock(21) as now:
        committer.submit([_received(world, now - timedelta(seconds=waited)) for waited in (20, 15, 10, 5)])
    assert sums(world) == (1000, 500_000)


@pytest.mark.parametrize("apart", [0.01, 1, 5, 60])
def test_a_legitimate_equal_beat_is_counted(world: World, apart: float) -> None:
    world.offer(0, waited=0.01, **SPENT)
    world.offer(apart, waited=0.01, **SPENT)
    assert sums(world) == (1000, 500_000)


def test_an_equal_beat_long_after_a_late_answer_is_counted(world: World) -> None:
    world.offer(0, waited=5, **SPENT)
    world.offer(60, waited=0.01, **SPENT)
    assert sums(world) == (1000, 500_000)


def test_the_second_copy_still_shows_that_the_agent_is_alive(world: World) -> None:
    world.offer(0, waited=5.5, **SPENT)
    world.offer(5, waited=0.6, **SPENT)
    assert world.state().last_beat_at == T0 + timedelta(seconds=5)
    assert progress_of(world) == 0


# After both tries its counters are cleared, so what was spent then is lost


def test_a_time_in_which_we_took_no_beats_stands_on_the_timeline(world: World, full_key: str) -> None:
    world.beat(0)
    for part, end in ((outage_log.EDGE, 50), (outage_log.DETECTOR, 40)):
        Outage.objects.create(part=part, started_at=T0 + timedelta(seconds=20), ended_at=T0 + timedelta(seconds=end))
    with world.clock(60):
        timeline = caller(full_key)("GET", f"agents/{world.agent().pk}/timeline").json()["results"]
    assert ["may be missing" in entry["text"] for entry in timeline] == [True, False]


# 429 and 5xx are retried at once, then the data is dropped


def test_a_known_agent_over_the_rate_is_answered_and_its_sums_are_kept(world: World, api_key: str) -> None:
    call = caller(api_key)
    with world.clock(0) as now:
        call("POST", "heartbeat", {"agent": "bot", "status": "ok"})
        rate_limit.count_beats(world.caller, 200, now)
        answer = call("POST", "heartbeat", {"agent": "bot", "status": "ok", "message": "hello", **SPENT})
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert sums(world) == (500, 250_000)
    assert Heartbeat.objects.latest("id").content is None


def test_an_error_over_the_rate_is_still_an_incident(world: World) -> None:
    body = json.dumps({"agent": "bot", "status": "error", "message": "CRASH: OSError: no"}).encode()
    with world.clock(0) as now:
        committer.submit([Received(world.caller, decode(body), now, SOURCE, detail=False)])
    world.look(1)
    assert [incident.kind for incident in world.incidents()] == ["crash"]


def test_a_management_call_over_the_rate_is_refused_with_a_time(world: World, full_key: str) -> None:
    call = caller(full_key)
    with world.clock(0):
        answers = [call("GET", "agents") for _ in range(201)]
    assert {answer.status_code for answer in answers[:200]} == {200}
    assert (answers[200].status_code, answers[200]["Retry-After"]) == (429, "60")


# `ping()` blocks the agent's loop while the server hangs


def test_the_answer_waits_for_three_statements_and_for_no_conclusion(
    world: World, django_assert_max_num_queries: Any
) -> None:
    world.beat(0)
    with django_assert_max_num_queries(5):  # with the savepoint of a test's own transaction
        world.beat(1, status="error", message="CRASH: KeyError: 'x'", tool_call_log=[SEARCH] * 9)
    assert world.incidents() == []
    world.look(2)
    assert len(world.incidents()) == 1


# A standing warning runs the callback at every beat


def over_budget(world: World, at: float = 0) -> None:
    world.beat(at, cost_limit_usd=1.0, cost_usd=2.0)
    world.look(at + 1)


def looping(world: World, at: float = 0, calls: int = 6, **fields: Any) -> None:
    world.beat(at, tool_calls=calls, tool_call_log=[SEARCH] * calls, **fields)
    world.look(at + 1)


@pytest.mark.parametrize(("cause", "warning"), [(over_budget, "cost_exceeded"), (looping, "loop_detected")])
def test_a_standing_warning_is_given_once(world: World, cause: Any, warning: str) -> None:
    cause(world)
    answers = [world.beat(2 + number / 2) for number in range(10)]
    assert [answer.warning for answer in answers] == [warning] + [None] * 9
    assert answers[0].reason
    assert answers[-1].incident


def test_a_warning_is_given_again_with_fresh_evidence(world: World) -> None:
    looping(world)
    assert world.beat(2).warning == "loop_detected"
    others = [{"name": "write_report", "args": f"part={number}"} for number in range(8)]
    world.beat(3, tool_calls=8, tool_call_log=others)
    world.look(4)
    assert world.beat(5).warning is None
    looping(world, 6)
    assert [world.beat(8).warning, world.beat(9).warning] == ["loop_detected", None]


def test_one_answer_holds_one_warning(world: World) -> None:
    world.beat(0, cost_limit_usd=1, cost_usd=2, tool_calls=6, tool_call_log=[SEARCH] * 6)
    world.look(1)
    assert {world.beat(2).warning, world.beat(3).warning} == {"cost_exceeded", "loop_detected"}
    assert world.beat(4).warning is None


# `on_loop="stop"` is `os._exit(1)`, and a supervisor starts it again


def test_a_process_started_again_after_a_loop_lives_through_its_first_beats(world: World) -> None:
    looping(world, iteration_count=40)
    assert world.beat(2, iteration_count=40).warning == "loop_detected"
    assert [world.beat(at, iteration_count=at - 4).warning for at in (5, 6, 7)] == [None] * 3


def test_a_loop_that_killed_the_process_before_it_was_told_is_not_told_to_the_next_one(world: World) -> None:
    looping(world, iteration_count=40)
    assert world.beat(5, iteration_count=1).warning is None


def test_the_loop_rule_is_armed_anew_for_the_new_process(world: World) -> None:
    looping(world, iteration_count=40)
    world.beat(2, iteration_count=40)
    looping(world, 5, calls=1, iteration_count=1)
    assert world.kinds() == []
    looping(world, 10, calls=4, iteration_count=2)
    assert world.kinds() == ["loop"]
    assert world.beat(12, iteration_count=3).warning == "loop_detected"


def test_after_a_budget_stop_the_new_process_is_told_that_it_is_a_hold(world: World) -> None:
    world.beat(0, cost_limit_usd=1.0, cost_usd=2.0, iteration_count=9)
    world.look(1)
    assert world.beat(2, iteration_count=9).warning == "cost_exceeded"
    answer = world.beat(5, iteration_count=1)
    assert (answer.warning, answer.hold) == ("cost_exceeded", True)
    assert world.beat(6, iteration_count=2).warning is None


# The first SIGTERM is swallowed


def test_a_shutdown_is_stopped_and_any_later_beat_means_it_is_back(world: World) -> None:
    world.beat(0)
    world.beat(10, status="shutdown")
    world.watch(11, 400)
    assert (world.incidents(), world.state().status) == ([], Status.STOPPED)
    world.beat(401)
    world.look(402)
    assert world.state().status == Status.OK
    world.watch(403, 530)
    assert [incident.kind for incident in world.incidents()] == ["missed_heartbeat"]


def test_the_silence_after_a_shutdown_teaches_no_rhythm(world: World) -> None:
    for at in (0, 60, 120):
        world.beat(at)
    world.beat(130, status="shutdown")
    world.beat(9000)
    assert (world.state().usual_gap or 0) < 120


# A script that ends normally sends no `shutdown`


def test_a_finite_job_is_closed_by_hand_in_one_step_until_it_runs_again(world: World) -> None:
    world.beat(0)
    world.watch(1, 130)
    actions.resolve(incident=world.incidents()[0], actor="owner@example.com", now=T0 + timedelta(seconds=131))
    world.watch(132, 900)
    assert (len(world.incidents()), world.state().status) == (1, Status.STOPPED)
    world.beat(901)
    world.look(902)
    assert world.state().status == Status.OK


def test_one_call_closes_it(world: World, full_key: str) -> None:
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


def test_a_crash_and_the_silence_after_it_are_one_incident(world: World) -> None:
    world.beat(0)
    world.beat(5, **CRASH)
    world.look(6)
    (incident,) = world.incidents()
    assert (incident.kind, incident.severity) == ("crash", "critical")
    assert "Traceback" in str(Signal.objects.get().evidence)
    world.watch(7, 900)
    assert (len(world.incidents()), world.events()) == (1, ["opened"])


def test_a_background_beat_right_behind_a_crash_is_no_recovery(world: World) -> None:
    world.beat(0)
    world.beat(5, **CRASH)
    world.beat(5.9, tokens_used=7)
    world.watch(6, 900)
    assert (len(world.incidents()), world.events()) == (1, ["opened"])
    assert (world.state().status, world.state().tokens_today) == (Status.DOWN, 7)


@pytest.mark.parametrize("after", [1.5, 60])
def test_a_process_that_is_started_again_after_its_crash_is_back(world: World, after: float) -> None:
    world.beat(0)
    world.beat(5, **CRASH)
    world.look(5.5)
    world.beat(5 + after)
    world.look(6 + after)
    assert (world.events(), world.state().status) == (["opened", "resolved"], Status.OK)


def test_without_a_crash_beat_the_silence_tells(world: World) -> None:
    world.beat(0)
    world.watch(1, 130)
    assert [incident.kind for incident in world.incidents()] == ["missed_heartbeat"]


# Sums are claims


def test_tokens_are_taken_as_sent(world: World) -> None:
    world.beat(0, tokens_used=500)
    world.beat(60, tokens_used=7)
    assert world.state().tokens_today == 507


def test_reported_money_is_kept_as_reported_with_the_tokens_beside_it(world: World) -> None:
    world.beat(0, tokens_used=1_000_000, cost_usd=0)
    world.beat(60, tokens_used=10, cost_usd=12.345678)
    assert sums(world) == (1_000_010, 12_345_678)
    beats = Heartbeat.objects.order_by("id").values_list("tokens", "cost")
    assert list(beats) == [(1_000_000, 0), (10, 12_345_678)]


# `monitored_node` and the AutoGen hook send the same text at every step


def test_repeated_text_alone_never_warns_stops_or_restarts(world: World) -> None:
    for at in range(0, 300, 5):
        answer = world.beat(at, message="node: research")
        world.look(at + 1)
        assert (answer.warning, answer.hold) == (None, False)
    assert world.incidents() == []
    assert not Command.objects.exists()


def test_repeated_text_alone_is_no_progress_and_with_other_progress_it_is(world: World) -> None:
    world.beat(0, message="node: research")
    world.beat(60, message="node: research")
    assert progress_of(world) == 0
    world.beat(120, message="node: research", tokens_used=5)
    assert progress_of(world) == 120
