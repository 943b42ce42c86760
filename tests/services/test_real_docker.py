"""The runner's Docker backend against a real Engine."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from clevagent.runner.backends.base import Observation, State
from clevagent.runner.backends.docker import Docker
from clevagent.runner.target import Target, make_target

from tests.flows.installation import wait_until
from tests.services.docker import Engine

pytestmark = [pytest.mark.live, pytest.mark.sqlite, pytest.mark.xdist_group("docker")]
WORKS = "while :; do sleep 0.1; done"


@pytest.fixture
def name(docker: Engine) -> Iterator[str]:
    """A name for a container, which is gone after the test."""
    chosen = f"bot-{uuid.uuid4().hex[:8]}"
    yield chosen
    docker.remove(chosen)


def target(docker: Engine, name: str) -> Target:
    return make_target("docker", name, options={"socket": docker.socket})


def seen(docker: Engine, name: str, state: State) -> Observation:
    """What the backend sees, once that is `state`."""
    backend, watched = Docker(), target(docker, name)
    wait_until(lambda: backend.check(watched, 5).state is state, f"{name} is {state}")
    return backend.check(watched, 5)


def test_running_container(docker: Engine, name: str) -> None:
    made_id = docker.run(name, WORKS)
    found = seen(docker, name, State.RUNNING)
    assert (found.evidence["Id"], found.evidence["RestartCount"]) == (made_id[:12], 0)
    assert "ExitCode" not in found.evidence


def test_failed_container_is_stopped_not_ended(docker: Engine, name: str) -> None:
    docker.run(name, "exit 3")
    found = seen(docker, name, State.STOPPED)
    assert (found.why, found.ended) == ("Docker says exited (code 3)", False)


def test_stopped_container_has_ended_with_any_code(docker: Engine, name: str) -> None:
    docker.run(name, f"trap 'exit 3' TERM; {WORKS}")
    docker.docker("stop", name)
    found = seen(docker, name, State.STOPPED)
    assert (found.evidence["ExitCode"], found.ended) == (3, True)


def test_killed_container_has_ended(docker: Engine, name: str) -> None:
    """By `docker kill`, after which Docker does not restart it either."""
    docker.run(name, WORKS)
    docker.docker("kill", name)
    found = seen(docker, name, State.STOPPED)
    assert (found.evidence["ExitCode"], found.ended) == (137, True)


def test_container_can_fail_after_stop_and_start(docker: Engine, name: str) -> None:
    docker.run(name, f"test -e /twice && sleep 1.2 && exit 3; touch /twice; {WORKS}")
    docker.docker("stop", name)
    docker.docker("start", name)
    found = seen(docker, name, State.STOPPED)
    assert (found.evidence["ExitCode"], found.ended) == (3, False)


def test_failing_health_check_is_seen(docker: Engine, name: str) -> None:
    docker.run(name, WORKS, "--health-cmd", "false", "--health-interval", "200ms", "--health-retries", "1")
    wait_until(lambda: seen(docker, name, State.RUNNING).evidence["Health"] == "unhealthy", "it is unhealthy")
    assert seen(docker, name, State.RUNNING).why == "its health check is failing"


def test_docker_restarts_are_counted(docker: Engine, name: str) -> None:
    docker.run(name, "exit 3", "--restart", "on-failure:2")
    found = seen(docker, name, State.STOPPED)
    assert found.why == "Docker says exited (code 3), restarted 2 times"


def test_paused_container_is_unknown(docker: Engine, name: str) -> None:
    docker.run(name, WORKS)
    docker.docker("pause", name)
    assert seen(docker, name, State.UNKNOWN).why == "Docker says paused; docker unpause resumes it"


def test_restart_and_stop(docker: Engine, name: str) -> None:
    docker.run(name, WORKS)
    backend, watched = Docker(), target(docker, name)
    before = backend.check(watched, 5).evidence["StartedAt"]
    assert backend.restart(watched, 30).ok
    after = backend.check(watched, 5)
    assert after.evidence["StartedAt"] != before
    assert backend.stop(watched, 30).ok
    assert (backend.check(watched, 5).state, backend.check(watched, 5).ended) == (State.STOPPED, True)
    assert backend.restart(watched, 30).ok
    assert backend.check(watched, 5).state is State.RUNNING


def test_replacement_container_is_not_touched(docker: Engine, name: str) -> None:
    backend, watched = Docker(), target(docker, name)
    docker.run(name, WORKS)
    backend.check(watched, 5)
    docker.remove(name)
    docker.run(name, WORKS)
    started = docker.state(name, "StartedAt")
    assert "is gone" in backend.restart(watched, 30).message
    assert docker.state(name, "StartedAt") == started


def test_labelled_containers_are_discovered(docker: Engine, name: str) -> None:
    backend, label = Docker(), make_target("docker", f"label:here={name}", options={"socket": docker.socket})
    assert backend.find(label, 5) == []
    docker.run(name, "exit 0", "--label", f"here={name}", "--label", "clevagent.agent=The writer")
    (found,) = backend.find(label, 5) or ()
    assert (found.name, found.agent) == (name, "The writer")
    assert backend.check(found, 5).evidence["Id"]
    docker.remove(name)
    assert backend.find(label, 5) == []
    assert backend.check(found, 5).missing
