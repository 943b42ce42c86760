"""What the published clients really do, and what follows for the server: each line a test, in the order of the table.

The clients are SDK 0.4.0 and `clevagent-runner` 0.1.0. Neither sends its interval, version, instance, sequence or time.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from agents import commands, incidents, ingest, rate, watch
from agents.beat import decode
from agents.models import Agent, AgentState, Command, Heartbeat, Outage, Signal, Status
from agents.services import add_alias
from teams.errors import ApiError
from tests.agents.api.conftest import Call, caller
from tests.agents.conftest import T0, World

SOURCE = "1/10.0.0.1"
PROMPTS = [f"{number:016x}" for number in range(5)]
STUCK: dict[str, Any] = {"iteration_count": 7, "prompt_hashes": PROMPTS}
SEARCH: dict[str, Any] = {"name": "search_docs", "args": "query=release notes"}
WATCHED: dict[str, Any] = {"restart_type": "systemd", "restart_target": "research-agent.service"}
RUNNER: dict[str, Any] = {"agent": "research-agent.service", "source": SOURCE, **WATCHED}


def progress_of(world: World, agent: str = "bot") -> float | None:
    """Seconds after T0 of the last progress."""
    at = world.state(agent).last_progress_at
    return None if at is None else (at - T0).total_seconds()


@pytest.fixture
def as_runner(api_key: str) -> Call:
    return caller(api_key)


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
        ingest.submit(copies)
    assert sums(world) == (500, 250_000)


def _received(world: World, at: Any, **fields: Any) -> ingest.Received:
    body = json.dumps({"agent": "bot", "status": "ok", **(fields or SPENT)}).encode()
    return ingest.Received(world.caller, decode(body), at, SOURCE)


def test_a_background_beat_between_the_two_copies_changes_nothing(world: World) -> None:
    with world.clock(9) as now:
        first, between, second = (now - timedelta(seconds=waited) for waited in (9, 6, 4))
        ingest.submit([_received(world, first), _received(world, between, iteration_count=3)])
        ingest.submit([_received(world, second)])
    assert sums(world) == (500, 250_000)


def test_of_two_equal_beats_that_were_each_sent_twice_both_are_counted(world: World) -> None:
    with world.clock(21) as now:
        ingest.submit([_received(world, now - timedelta(seconds=waited)) for waited in (20, 15, 10, 5)])
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
    for part, end in ((watch.EDGE, 50), (watch.DETECTOR, 40)):
        Outage.objects.create(part=part, started_at=T0 + timedelta(seconds=20), ended_at=T0 + timedelta(seconds=end))
    with world.clock(60):
        timeline = caller(full_key)("GET", f"agents/{world.agent().pk}/timeline").json()["results"]
    assert ["may be missing" in entry["text"] for entry in timeline] == [True, False]


# 429 and 5xx are retried at once, then the data is dropped


def test_a_known_agent_over_the_rate_is_answered_and_its_sums_are_kept(world: World, api_key: str) -> None:
    call = caller(api_key)
    with world.clock(0) as now:
        call("POST", "heartbeat", {"agent": "bot", "status": "ok"})
        rate.count_beats(world.caller, 200, now)
        answer = call("POST", "heartbeat", {"agent": "bot", "status": "ok", "message": "hello", **SPENT})
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert sums(world) == (500, 250_000)
    assert Heartbeat.objects.latest("id").content is None


def test_an_error_over_the_rate_is_still_an_incident(world: World) -> None:
    body = json.dumps({"agent": "bot", "status": "error", "message": "CRASH: OSError: no"}).encode()
    with world.clock(0) as now:
        ingest.submit([ingest.Received(world.caller, decode(body), now, SOURCE, detail=False)])
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
    world.beat(3, tool_calls=1, tool_call_log=[{"name": "write_report"}])
    world.look(4)
    assert world.beat(5).warning is None
    looping(world, 6)
    assert [world.beat(8).warning, world.beat(9).warning] == ["loop_detected", None]


def test_one_answer_holds_one_warning(world: World) -> None:
    world.beat(0, cost_limit_usd=1, cost_usd=2, tool_calls=6, tool_call_log=[SEARCH] * 6)
    world.look(1)
    assert {world.beat(2).warning, world.beat(3).warning} == {"cost_exceeded", "loop_detected"}
    assert world.beat(4).warning is None


def test_a_runner_is_never_warned(world: World) -> None:
    world.beat(0, **RUNNER)
    AgentState.objects.update(warnings=[["1:loop:1", "a loop"]])
    assert world.beat(1, **RUNNER).warning is None


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
    incidents.resolve(incident=world.incidents()[0], actor="owner@example.com", now=T0 + timedelta(seconds=131))
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


# Any answer of `/commands` that is not a list ends the runner


@pytest.mark.parametrize("key", [None, "nonsense", "cv_" + "a" * 40])
def test_without_a_known_key_the_commands_are_an_empty_list(db: None, key: str | None) -> None:
    answer = caller(key)("GET", "commands")
    assert (answer.status_code, answer.json()) == (401, [])


def test_over_the_rate_the_commands_are_an_empty_list(world: World, as_runner: Call) -> None:
    with world.clock(0) as now:
        rate.count_call(world.caller, now)
        answers = [as_runner("GET", "commands") for _ in range(200)]
    assert [answers[0].json(), answers[-1].json()] == [[], []]
    assert answers[-1].status_code == 429


def test_when_we_fail_ourselves_the_commands_are_an_empty_list(
    as_runner: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(commands, "hand_out", fail)
    answer = as_runner("GET", "commands")
    assert (answer.status_code, answer.json()) == (500, [])


def test_with_nothing_to_do_the_commands_are_an_empty_list(as_runner: Call) -> None:
    answer = as_runner("GET", "commands")
    assert (answer.status_code, answer.json()) == (200, [])


# Runner: no lease, no ack, and its result is not sent again

HERE, THERE = "10.0.0.1", "10.0.0.2"


class Runners:
    """Published runners on one key, told apart by their address alone."""

    def __init__(self, world: World, call: Call) -> None:
        self.world, self.call = world, call

    def beat(self, at: float, address: str = HERE, **fields: Any) -> None:
        body = {"agent": "research-agent.service", "status": "ok", **WATCHED, **fields}
        with self.world.clock(at):
            assert self.call("POST", "heartbeat", body, REMOTE_ADDR=address).status_code == 200

    def poll(self, at: float, address: str = HERE) -> list[dict[str, Any]]:
        with self.world.clock(at):
            handed: list[dict[str, Any]] = self.call("GET", "commands", REMOTE_ADDR=address).json()
            return handed

    def say(self, at: float, command: int, status: str, message: str, address: str = HERE) -> Command:
        body = {"status": status, "message": message}
        with self.world.clock(at):
            answer = self.call("POST", f"commands/{command}/result", body, REMOTE_ADDR=address)
        assert answer.status_code == 200
        return Command.objects.get(pk=command)

    def agent(self) -> Agent:
        return self.world.agent("research-agent.service")

    def ask(self, at: float, action: str = "stop") -> Command:
        with self.world.clock(at) as now:
            return commands.request(agent=self.agent(), action=action, actor="owner@example.com", reason="", now=now)


@pytest.fixture
def runners(world: World, as_runner: Call) -> Runners:
    """One runner that reports its target and asks for commands."""
    made = Runners(world, as_runner)
    made.beat(0)
    assert made.poll(0) == []
    return made


NOT_REGISTERED = "target 'systemd:research-agent.service' not registered with --watch"


def test_a_command_is_handed_out_once_as_runners_read_it(runners: Runners) -> None:
    command = runners.ask(5)
    handed = {"id": command.pk, "action": "stop", "type": "systemd", "target": "research-agent.service"}
    assert runners.poll(10) == [handed]
    assert [runners.poll(at) for at in range(20, 900, 10)] == [[]] * 88


def test_a_command_whose_result_was_lost_expires_and_is_never_handed_out_again(runners: Runners) -> None:
    command = runners.ask(5)
    runners.poll(10)
    with runners.world.clock(310) as now:
        assert commands.expire(now) == 1
    assert (runners.poll(311), runners.poll(320, THERE)) == ([], [])
    command.refresh_from_db()
    assert (command.state, command.result) == ("expired", "the runner took it and sent no result")


def test_a_command_nobody_asked_for_in_time_is_void(runners: Runners) -> None:
    runners.ask(5)
    assert runners.poll(306) == []


# Two runners on one key


def test_a_command_goes_to_the_runner_that_last_reported_the_target(runners: Runners) -> None:
    runners.beat(1, THERE)
    runners.poll(1, THERE)
    command = runners.ask(5)
    assert runners.poll(6, HERE) == []
    assert [handed["id"] for handed in runners.poll(7, THERE)] == [command.pk]


def test_not_registered_is_not_mine_and_the_other_gets_it(runners: Runners) -> None:
    command = runners.ask(5)
    runners.poll(10)
    assert runners.say(10, command.pk, "rejected", NOT_REGISTERED).state == "pending"
    assert [handed["id"] for handed in runners.poll(12, THERE)] == [command.pk]
    assert runners.say(13, command.pk, "completed", "Stopped", THERE).state == "completed"


def test_two_runners_behind_one_address_pass_a_command_on_until_the_right_one_has_it(runners: Runners) -> None:
    command = runners.ask(5)
    assert len(runners.poll(6)) == 1
    runners.say(6, command.pk, "rejected", NOT_REGISTERED)
    assert [handed["id"] for handed in runners.poll(9)] == [command.pk]
    assert runners.say(9, command.pk, "completed", "Stopped").state == "completed"


def test_a_runner_that_always_says_not_registered_is_not_asked_for_ever(runners: Runners) -> None:
    command = runners.ask(5)
    handed = 0
    for at in range(10, 300, 10):
        for _ in runners.poll(at):
            handed += 1
            runners.say(at, command.pk, "rejected", NOT_REGISTERED)
    assert 1 < handed <= 5
    with runners.world.clock(306) as now:
        commands.expire(now)
    command.refresh_from_db()
    assert command.state == "expired"


# Runner restarts whatever it sees down


def test_a_restart_of_the_runner_s_own_is_in_the_history(runners: Runners, full_key: str) -> None:
    runners.beat(30, status="error", message="research-agent.service is not responding")
    runners.beat(33, message="Auto-restarted successfully")
    with runners.world.clock(40):
        beats = caller(full_key)("GET", f"agents/{runners.agent().pk}/heartbeats").json()["results"]
    assert beats[0]["content"]["message"] == "Auto-restarted successfully"


def test_a_target_that_was_told_to_stop_raises_no_alarm_for_being_down(runners: Runners) -> None:
    command = runners.ask(5)
    runners.poll(10)
    runners.say(10, command.pk, "completed", "Stopped systemd:research-agent.service")
    for at in range(40, 400, 30):
        runners.beat(at, status="error", message="research-agent.service is not responding")
        runners.beat(at + 1, status="error", message="Not responding — auto-restart failed")
        runners.world.look(at + 2)
    assert runners.world.incidents() == []
    assert runners.world.state("research-agent.service").status == Status.STOPPED


def test_a_stopped_target_that_the_runner_restarts_is_back_without_an_alarm(runners: Runners) -> None:
    command = runners.ask(5)
    runners.poll(10)
    runners.say(10, command.pk, "completed", "Stopped systemd:research-agent.service")
    runners.world.look(11)
    runners.beat(40, status="error", message="research-agent.service is not responding")
    runners.beat(43, message="Auto-restarted successfully")
    runners.world.look(44)
    assert runners.world.incidents() == []
    assert runners.world.state("research-agent.service").status == Status.OK


# Runner is single-threaded: a slow restart delays the beats of all its targets


def test_a_stalled_runner_is_one_incident(world: World) -> None:
    names = ("api.service", "worker.service", "mailer.service")
    for at in range(0, 240, 30):
        for place, name in enumerate(names):
            world.beat(at + place / 10, agent=name, restart_type="systemd", restart_target=name)
        world.look(at + 1)
    world.watch(241, 400)
    (incident,) = world.incidents()
    assert incident.together
    assert Signal.objects.filter(incident=incident).count() == 3
    assert world.events() == ["opened"]


def test_beats_that_a_slow_restart_delayed_by_half_a_minute_open_nothing(world: World) -> None:
    for at in (0, 30, 60, 90, 120, 150, 210, 240):
        for name in ("api.service", "worker.service"):
            world.beat(at, agent=name, restart_type="systemd", restart_target=name)
        world.look(at + 1)
        world.look(at + 29)
    assert world.incidents() == []


# The first `error` beat of the runner lacks the restart fields


def test_an_error_without_restart_fields_keeps_the_last_known_target(world: World) -> None:
    world.beat(0, **RUNNER)
    world.beat(30, RUNNER["agent"], source=SOURCE, status="error", message="research-agent.service is not responding")
    state = world.state("research-agent.service")
    assert (state.restart_type, state.restart_target) == ("systemd", "research-agent.service")
    assert state.runner == SOURCE
    world.look(31)
    (incident,) = world.incidents()
    assert (incident.kind, incident.severity) == ("error", "critical")


def test_the_outcome_after_the_error_is_the_same_incident(world: World) -> None:
    world.beat(0, **RUNNER)
    world.beat(30, RUNNER["agent"], status="error", message="research-agent.service is not responding")
    world.look(31)
    world.beat(32, status="error", message="Not responding — auto-restart failed", **RUNNER)
    world.look(33)
    assert world.events() == ["opened"]


# One agent seen twice


def test_an_agent_seen_by_sdk_and_runner_is_counted_once(world: World) -> None:
    world.beat(0, agent="research-agent")
    add_alias(agent=world.agent("research-agent"), name="research-agent.service", actor="x", now=T0)
    world.beat(1, **RUNNER)
    world.beat(2, agent="research-agent", tokens_used=5)
    assert Agent.objects.count() == 1
    state = world.state("research-agent")
    assert (state.beats, state.restart_target, state.tokens_today) == (3, "research-agent.service", 5)
    for name in ("second", "third"):
        world.beat(3, agent=name)
    assert isinstance(world.offer(4, agent="fourth"), ApiError)


def test_a_runner_s_ok_beats_never_hide_that_the_sdk_makes_no_progress(world: World) -> None:
    world.beat(0, agent="research-agent", iteration_count=1)
    add_alias(agent=world.agent("research-agent"), name="research-agent.service", actor="x", now=T0)
    for at in range(30, 1900, 30):
        world.beat(at, agent="research-agent", iteration_count=1)
        world.beat(at + 5, **RUNNER)
        world.look(at + 6)
    assert [incident.kind for incident in world.incidents()] == ["stalled"]


@pytest.mark.parametrize(
    ("target", "name"),
    [("com.example.crypto.bot", "crypto.bot"), ("research-agent.service", "research-agent.service")],
)
def test_a_name_that_arrives_cut_keeps_its_whole_target_and_joins_by_an_alias(
    world: World, target: str, name: str
) -> None:
    world.beat(0, agent="bot")
    add_alias(agent=world.agent("bot"), name=name, actor="x", now=T0)
    world.beat(1, agent=name, restart_type="launchd", restart_target=target)
    assert Agent.objects.count() == 1
    assert world.state("bot").restart_target == target
    world.beat(2, agent=name, status="error", message=f"{target} is not responding")
    world.look(3)
    assert world.incidents()[0].severity == "critical"
