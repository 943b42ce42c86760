"""Confused deputy: whoever has an `agent` key must not choose what another agent's "Restart" and "Stop" do.

Before, a heartbeat that named another target turned "stop bot" into "stop database".
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from agents.commands import dispatch
from agents.domain import pinning
from agents.fleet import services
from agents.models import Agent, Command, Runner, Signal
from agents.rules import restart_target
from teams.errors import ApiError
from tests.agents.conftest import T0, World

pytestmark = pytest.mark.django_db
MINE, THEIRS = "1/10.0.0.1/web-1", "7/10.6.6.6/laptop"


def reported(
    world: World, at: float = 0, source: str = MINE, kind: str = "systemd", target: str = "bot.service", **more: Any
) -> None:
    world.beat(at, source=source, restart_type=kind, restart_target=target, **more)


def polls(world: World, source: str = MINE, at: float = 0) -> None:
    Runner.objects.update_or_create(
        project=world.project, source=source, defaults={"polled_at": T0 + timedelta(seconds=at)}
    )


def arm(world: World) -> None:
    Agent.objects.update(restart_policy="auto")


def moment(at: float) -> datetime:
    return T0 + timedelta(seconds=at)


def stop(world: World, at: float = 1) -> Command:
    return dispatch.request(agent=world.agent(), action="stop", actor="ops@example.com", reason="x", now=moment(at))


@pytest.mark.parametrize(("kind", "target"), [("docker", "database"), ("systemd", "database.service"), ("k8s", "a/b")])
@pytest.mark.parametrize("source", [MINE, THEIRS])
def test_another_target_changes_no_command(world: World, kind: str, target: str, source: str) -> None:
    reported(world)
    polls(world)
    reported(world, 0.5, source, kind, target)
    command = stop(world)
    assert (command.type, command.target, command.runner) == ("systemd", "bot.service", MINE)


def test_another_target_raises_a_signal(world: World) -> None:
    reported(world)
    world.look(1)
    assert world.kinds() == []
    reported(world, 2, THEIRS, "docker", "database")
    world.look(3)
    signal = Signal.objects.get(agent=world.agent())
    assert signal.severity == "warning"
    assert signal.evidence == {
        "claimed": "docker:database, reported by 10.6.6.6/laptop",
        "pinned": "systemd:bot.service",
    }
    for second in range(10, 620, 30):
        reported(world, second)
    world.look(602 + restart_target.OVER_AFTER.total_seconds() - 600)
    assert world.kinds() == []


def test_another_runner_takes_no_command(world: World) -> None:
    reported(world)
    arm(world)
    polls(world)
    reported(world, 0.5, THEIRS)
    polls(world, THEIRS)
    command = stop(world)
    assert command.runner == MINE
    for second in (2, 40, 100):
        assert dispatch.hand_out(caller=world.caller, runner=THEIRS, now=moment(second)) == []
    assert dispatch.hand_out(caller=world.caller, runner=MINE, now=moment(100)) == [command]


def test_other_runner_says_nothing_of_the_target(world: World) -> None:
    """Neither that it is down, which an automatic restart would believe, nor that it runs again after a stop."""
    reported(world)
    arm(world)
    reported(world, 1, THEIRS, status="error", message="Not responding: gone")
    assert world.state().runner_down is False
    reported(world, 2, status="error", message="Not responding: x", intent="stopped")
    reported(world, 3, THEIRS, sdk="clevagent-python/1 runner")
    assert world.state().held is True


def test_moved_runner_is_accepted_when_gone(world: World) -> None:
    """The same target, once the pinned runner is silent; never another target."""
    gone = pinning.RUNNER_GONE.total_seconds()
    reported(world)
    arm(world)
    reported(world, gone - 1, THEIRS)
    assert world.state().runner == MINE
    reported(world, gone + 1, THEIRS, "docker", "database")
    assert world.state().restart_target == "bot.service"
    reported(world, gone + 2, THEIRS)
    assert world.state().runner == THEIRS


def test_rotated_key_keeps_the_runner(world: World) -> None:
    reported(world)
    arm(world)
    reported(world, 1, MINE.replace("1/", "2/", 1))
    world.look(2)
    assert world.state().runner.startswith("2/")
    assert world.kinds() == []


def test_people_change_the_target(world: World) -> None:
    reported(world)
    target = {"restart_type": "docker", "restart_target": "bot"}
    services.change_agent(agent=world.agent(), changes=target, actor="ops@example.com", now=moment(1))
    reported(world, 2, THEIRS, "docker", "bot")
    reported(world, 3)
    state = world.state()
    assert (state.restart_type, state.restart_target, state.runner) == ("docker", "bot", THEIRS)


def test_runner_restarts_its_own_target_only(world: World) -> None:
    reported(world)
    arm(world)
    for source, target in ((THEIRS, ("systemd", "bot.service")), (MINE, ("docker", "database"))):
        with pytest.raises(ApiError) as refused:
            dispatch.grant(caller=world.caller, runner=source, name="bot", target=target, cause="down", now=moment(1))
        assert (refused.value.http_status, refused.value.code) == (409, "not_its_target")
    assert not Command.objects.exists()


@pytest.mark.parametrize("status", [state.value for state in dispatch.RESULTS])
@pytest.mark.parametrize("message", ["done", "it is not registered with this runner"])
def test_only_the_runner_with_the_command_answers(world: World, status: str, message: str) -> None:
    reported(world)
    polls(world)
    command = stop(world)
    dispatch.hand_out(caller=world.caller, runner=MINE, now=moment(2))
    with pytest.raises(ApiError) as refused:
        answer(world, command, THEIRS, status, message)
    assert (refused.value.http_status, refused.value.code) == (409, "not_handed_out")
    command.refresh_from_db()
    assert (command.state, command.result, world.state().held) == ("leased", "", False)
    assert answer(world, command, MINE.replace("1/", "2/", 1), "completed", "stopped").state == "completed"


def test_runner_that_returned_a_command_is_not_heard(world: World) -> None:
    reported(world)
    polls(world)
    command = stop(world)
    dispatch.hand_out(caller=world.caller, runner=MINE, now=moment(2))
    answer(world, command, MINE, "rejected", "not registered")
    assert dispatch.hand_out(caller=world.caller, runner=THEIRS, now=moment(4)) == [command]
    assert answer(world, command, MINE, "completed", "stopped").state == "leased"
    assert answer(world, command, THEIRS, "completed", "stopped").state == "completed"


def answer(world: World, command: Command, runner: str, status: str, message: str) -> Command:
    return dispatch.report(
        command_id=command.pk, caller=world.caller, runner=runner, status=status, message=message, now=moment(5)
    )
