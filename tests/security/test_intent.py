"""A purposeful end is no crash: nothing automatic undoes what a person, or the end of the work, has stopped.

`ORIGINAL` is what runners sent before there was an `intent`.
"""

from __future__ import annotations

from typing import Any

import pytest

from agents.commands import dispatch
from agents.models import Agent, Command, Incident
from teams.errors import ApiError
from tests.agents.conftest import World
from tests.security.test_deputy import MINE, moment, polls, reported

pytestmark = pytest.mark.django_db
FAILED: dict[str, Any] = {"status": "error", "message": "Not responding: Docker says exited (code 1)"}
ORIGINAL = [
    {"message": "Not responding: Docker says exited (code 143): it was stopped or has finished"},
    {"message": "Not responding: Docker says exited (code 0): it was stopped or has finished"},
    {"message": "Not responding: Docker says exited (code 137): stopped by someone, or finished"},
    {"message": "Not responding: systemd says inactive", "evidence": {"ActiveState": "inactive", "SubState": "dead"}},
    {"message": "Not responding: systemd says inactive", "evidence": {"ActiveState": "inactive", "Result": "success"}},
    {"message": "Not responding: Docker", "evidence": {"Status": "exited", "ExitCode": 143}},
    {"message": "Not responding: Docker", "evidence": {"Status": "exited", "ExitCode": 0}},
    {"message": "Not responding: it ended by signal 15", "evidence": {"ExitCode": -15}},
    {"message": "Not responding: launchd says not running", "evidence": {"state": "not running", "last_exit_code": 0}},
    {"message": "Not responding: it is scaled to 0", "evidence": {"replicas": 0, "readyReplicas": 0}},
    {"message": "Not responding: x", "intent": "stopped"},
    {"message": "Not responding: x", "intent": "finished"},
]


@pytest.fixture
def auto(world: World) -> World:
    reported(world)
    Agent.objects.update(restart_policy="auto")
    polls(world)
    return world


def test_failure_is_restarted(auto: World) -> None:
    """Otherwise the absence of a restart would prove nothing."""
    reported(auto, 1, **FAILED)
    auto.look(2)
    assert Command.objects.get().action == "restart"


@pytest.mark.parametrize("said", ORIGINAL)
def test_purposeful_end_is_not_restarted(auto: World, said: dict[str, Any]) -> None:
    for second in range(1, 200, 30):
        reported(auto, second, **{"status": "error", **said})
        auto.look(second + 1)
    assert (auto.agent().state.status, auto.state().held) == ("stopped", True)
    assert not Command.objects.exists()
    assert not Incident.objects.exists()


def test_doubtful_end_alarms_but_is_not_restarted(auto: World) -> None:
    reported(auto, 1, **FAILED, intent="unknown")
    auto.look(2)
    assert not Command.objects.exists()
    assert Incident.objects.get().severity == "critical"


@pytest.mark.parametrize("intent", ["stopped", "finished", "unknown"])
def test_own_runner_may_not_undo_it_either(auto: World, intent: str) -> None:
    reported(auto, 1, **FAILED, intent=intent)
    with pytest.raises(ApiError) as refused:
        dispatch.grant(
            caller=auto.caller, runner=MINE, name="bot", target=("systemd", "bot.service"), cause="x", now=moment(2)
        )
    assert refused.value.code == "held"


def test_stop_before_the_restart_is_sent_voids_it(auto: World) -> None:
    reported(auto, 1, **FAILED)
    auto.look(2)
    reported(auto, 3, status="shutdown", intent="stopped")
    assert dispatch.hand_out(caller=auto.caller, runner=MINE, now=moment(4)) == []


def test_people_may_restart_it(auto: World) -> None:
    reported(auto, 1, status="shutdown", intent="stopped")
    command = dispatch.request(
        agent=auto.agent(), action="restart", actor="ops@example.com", reason="again", now=moment(2)
    )
    assert dispatch.hand_out(caller=auto.caller, runner=MINE, now=moment(3)) == [command]


def test_started_again_is_watched_again(auto: World) -> None:
    reported(auto, 1, status="shutdown", intent="stopped")
    reported(auto, 30, sdk="clevagent-python/1 runner")
    reported(auto, 60, **FAILED)
    auto.look(61)
    assert Command.objects.get().action == "restart"


def test_agents_cannot_send_an_intent(auto: World) -> None:
    """Only a runner sees from outside why a program ended."""
    auto.beat(1, status="error", message="CRASH: boom", intent="stopped")
    assert auto.state().held is False
