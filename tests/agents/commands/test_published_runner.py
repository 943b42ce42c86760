"""How the published runner behaves, and how the server copes with it.

`clevagent-runner` 0.1.0 has no name of its own, no lease and no acknowledgement; runners are told apart by address.
"""

from __future__ import annotations

from typing import Any

import pytest

from agents.api import commands as api
from agents.commands import dispatch
from agents.ingest import rate_limit
from agents.models import Agent, AgentName, AgentState, Command, Signal, Status
from teams.errors import ApiError
from tests.agents.api.conftest import Call, caller
from tests.agents.conftest import World

SOURCE = "1/10.0.0.1"
WATCHED: dict[str, Any] = {"restart_type": "systemd", "restart_target": "research-agent.service"}
RUNNER: dict[str, Any] = {"agent": "research-agent.service", "source": SOURCE, **WATCHED}


@pytest.fixture
def as_runner(api_key: str) -> Call:
    return caller(api_key)


# The runner crashes on any answer of `/commands` that is not a list


@pytest.mark.parametrize("key", [None, "nonsense", "cv_" + "a" * 40])
def test_unknown_keys_get_an_empty_list(db: None, key: str | None) -> None:
    answer = caller(key)("GET", "commands")
    assert (answer.status_code, answer.json()) == (401, [])


def test_rate_limited_polls_get_an_empty_list(world: World, as_runner: Call) -> None:
    with world.clock(0) as now:
        rate_limit.count_call(world.caller, now)
        answers = [as_runner("GET", "commands") for _ in range(200)]
    assert [answers[0].json(), answers[-1].json()] == [[], []]
    assert answers[-1].status_code == 429


def test_server_errors_give_an_empty_list(as_runner: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(dispatch, "hand_out", fail)
    answer = as_runner("GET", "commands")
    assert (answer.status_code, answer.json()) == (500, [])


def test_idle_polls_get_an_empty_list(as_runner: Call) -> None:
    answer = as_runner("GET", "commands")
    assert (answer.status_code, answer.json()) == (200, [])


# The runner has no lease and no ack, and sends its result only once

HERE, THERE = "10.0.0.1", "10.0.0.2"


class Runners:
    """Published runners that share a key and differ only by address."""

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
            return dispatch.request(agent=self.agent(), action=action, actor="owner@example.com", reason="", now=now)


@pytest.fixture
def runners(world: World, as_runner: Call) -> Runners:
    """One runner that reports its target and polls for commands."""
    made = Runners(world, as_runner)
    made.beat(0)
    assert made.poll(0) == []
    return made


NOT_REGISTERED = "target 'systemd:research-agent.service' not registered with --watch"


def test_a_command_is_sent_once_in_the_runners_format(runners: Runners) -> None:
    command = runners.ask(5)
    handed = {"id": command.pk, "action": "stop", "type": "systemd", "target": "research-agent.service"}
    [item] = runners.poll(10)
    assert handed.items() < item.items()
    assert [runners.poll(at) for at in range(20, 900, 10)] == [[]] * 88


def test_a_command_with_a_lost_result_is_not_resent(runners: Runners) -> None:
    command = runners.ask(5)
    runners.poll(10)
    with runners.world.clock(310) as now:
        assert dispatch.expire(now) == 1
    assert (runners.poll(311), runners.poll(320, THERE)) == ([], [])
    command.refresh_from_db()
    assert (command.state, command.result) == ("expired", "the runner took it but sent no result")


def test_an_unclaimed_command_is_not_sent_late(runners: Runners) -> None:
    runners.ask(5)
    assert runners.poll(306) == []


# Two runners on one key


def test_the_last_reporting_runner_gets_the_command(runners: Runners) -> None:
    runners.beat(1, THERE)
    runners.poll(1, THERE)
    command = runners.ask(5)
    assert runners.poll(6, HERE) == []
    assert [handed["id"] for handed in runners.poll(7, THERE)] == [command.pk]


def test_not_registered_passes_it_to_the_other_runner(runners: Runners) -> None:
    command = runners.ask(5)
    runners.poll(10)
    assert runners.say(10, command.pk, "rejected", NOT_REGISTERED).state == "pending"
    assert [handed["id"] for handed in runners.poll(12, THERE)] == [command.pk]
    assert runners.say(13, command.pk, "completed", "Stopped", THERE).state == "completed"


def test_runners_behind_one_address_pass_it_on(runners: Runners) -> None:
    command = runners.ask(5)
    assert len(runners.poll(6)) == 1
    runners.say(6, command.pk, "rejected", NOT_REGISTERED)
    assert [handed["id"] for handed in runners.poll(9)] == [command.pk]
    assert runners.say(9, command.pk, "completed", "Stopped").state == "completed"


def test_the_right_runner_waits_for_a_return(runners: Runners, monkeypatch: pytest.MonkeyPatch) -> None:
    command = runners.ask(5)
    runners.poll(6)
    monkeypatch.setattr(api, "sleep", lambda _: runners.say(6, command.pk, "rejected", NOT_REGISTERED))
    assert [handed["id"] for handed in runners.poll(6)] == [command.pk]


def test_a_running_command_does_not_delay_polls(runners: Runners, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(api, "sleep", waited.append)
    runners.ask(5)
    runners.poll(6)
    assert (runners.poll(6), runners.poll(8), runners.poll(6, THERE)) == ([], [], [])
    assert 0 < sum(waited) <= 0.5


def test_a_runner_is_not_asked_again_forever(runners: Runners) -> None:
    command = runners.ask(5)
    handed = 0
    for at in range(10, 300, 10):
        for _ in runners.poll(at):
            handed += 1
            runners.say(at, command.pk, "rejected", NOT_REGISTERED)
    assert 1 < handed <= 5
    with runners.world.clock(306) as now:
        dispatch.expire(now)
    command.refresh_from_db()
    assert command.state == "expired"


# The runner restarts whatever it sees down


def test_the_runners_own_restart_is_in_the_history(runners: Runners, full_key: str) -> None:
    runners.beat(30, status="error", message="research-agent.service is not responding")
    runners.beat(33, message="Auto-restarted successfully")
    with runners.world.clock(40):
        beats = caller(full_key)("GET", f"agents/{runners.agent().pk}/heartbeats").json()["results"]
    assert beats[0]["content"]["message"] == "Auto-restarted successfully"


def test_a_stopped_target_opens_no_incident(runners: Runners) -> None:
    command = runners.ask(5)
    runners.poll(10)
    runners.say(10, command.pk, "completed", "Stopped systemd:research-agent.service")
    for at in range(40, 400, 30):
        runners.beat(at, status="error", message="research-agent.service is not responding")
        runners.beat(at + 1, status="error", message="Not responding — auto-restart failed")
        runners.world.look(at + 2)
    assert runners.world.incidents() == []
    assert runners.world.state("research-agent.service").status == Status.STOPPED


def test_restarting_a_stopped_target_opens_no_incident(runners: Runners) -> None:
    command = runners.ask(5)
    runners.poll(10)
    runners.say(10, command.pk, "completed", "Stopped systemd:research-agent.service")
    runners.world.look(11)
    runners.beat(40, status="error", message="research-agent.service is not responding")
    runners.beat(43, message="Auto-restarted successfully")
    runners.world.look(44)
    assert runners.world.incidents() == []
    assert runners.world.state("research-agent.service").status == Status.OK


# The runner is single-threaded: a slow restart delays the heartbeats of all its targets


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


def test_a_slow_restart_opens_no_incident(world: World) -> None:
    for at in (0, 30, 60, 90, 120, 150, 210, 240):
        for name in ("api.service", "worker.service"):
            world.beat(at, agent=name, restart_type="systemd", restart_target=name)
        world.look(at + 1)
        world.look(at + 29)
    assert world.incidents() == []


# The first `error` beat of the runner lacks the restart fields


def test_an_error_keeps_the_last_known_target(world: World) -> None:
    world.beat(0, **RUNNER)
    world.beat(30, RUNNER["agent"], source=SOURCE, status="error", message="research-agent.service is not responding")
    state = world.state("research-agent.service")
    assert (state.restart_type, state.restart_target) == ("systemd", "research-agent.service")
    assert state.runner == SOURCE
    world.look(31)
    (incident,) = world.incidents()
    assert (incident.kind, incident.severity) == ("error", "critical")


def test_a_result_after_an_error_is_the_same_incident(world: World) -> None:
    world.beat(0, **RUNNER)
    world.beat(30, RUNNER["agent"], status="error", message="research-agent.service is not responding")
    world.look(31)
    world.beat(32, status="error", message="Not responding — auto-restart failed", **RUNNER)
    world.look(33)
    assert world.events() == ["opened"]


# An agent with both SDK and runner


def test_an_agent_with_sdk_and_runner_counts_once(world: World) -> None:
    world.beat(0, agent="research-agent")
    AgentName.objects.create(project=world.project, agent=world.agent("research-agent"), name="research-agent.service")
    world.beat(1, **RUNNER)
    world.beat(2, agent="research-agent", tokens_used=5)
    assert Agent.objects.count() == 1
    state = world.state("research-agent")
    assert (state.beats, state.restart_target, state.tokens_today) == (3, "research-agent.service", 5)
    for name in ("second", "third"):
        world.beat(3, agent=name)
    assert isinstance(world.offer(4, agent="fourth"), ApiError)


def test_runner_heartbeats_do_not_hide_a_stall(world: World) -> None:
    world.beat(0, agent="research-agent", iteration_count=1)
    AgentName.objects.create(project=world.project, agent=world.agent("research-agent"), name="research-agent.service")
    for at in range(30, 1900, 30):
        world.beat(at, agent="research-agent", iteration_count=1)
        world.beat(at + 5, message="Auto-restarted successfully" if at == 1500 else None, **RUNNER)
        world.look(at + 6)
    assert [incident.kind for incident in world.incidents()] == ["stalled"]


@pytest.mark.parametrize(
    ("target", "name"),
    [("com.example.crypto.bot", "crypto.bot"), ("research-agent.service", "research-agent.service")],
)
def test_a_cut_name_joins_by_alias(world: World, target: str, name: str) -> None:
    world.beat(0, agent="bot")
    AgentName.objects.create(project=world.project, agent=world.agent("bot"), name=name)
    world.beat(1, agent=name, restart_type="launchd", restart_target=target)
    assert Agent.objects.count() == 1
    assert world.state("bot").restart_target == target
    world.beat(2, agent=name, status="error", message=f"{target} is not responding")
    world.look(3)
    assert world.incidents()[0].severity == "critical"


# The runner ignores the answers to its heartbeats


def test_runners_get_no_warnings(world: World) -> None:
    world.beat(0, **RUNNER)
    AgentState.objects.update(warnings=[["1:loop:1", "a loop"]])
    assert world.beat(1, **RUNNER).warning is None
