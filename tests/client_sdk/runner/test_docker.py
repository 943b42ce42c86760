"""The Docker backend against an Engine with scripted answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clevagent.runner.backends.base import Backend, Finder, State
from clevagent.runner.backends.docker import BACKEND, Docker, Engine
from clevagent.runner.backends.rest import Reply
from clevagent.runner.target import Target, make_target

from tests.client_sdk.runner.cases import BackendCases
from tests.client_sdk.runner.fake_api import FakeApi

FIRST, SECOND = "1" * 64, "2" * 64


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeApi]:
    with FakeApi(tmp_path / "d.sock") as api:
        yield api


@pytest.fixture
def bot(engine: FakeApi) -> Target:
    return make_target("docker", "bot", options={"socket": str(engine.socket)})


def holds(engine: FakeApi, name: str = "bot", id_: str = FIRST, count: int = 0, **state: Any) -> None:
    """Add a container with this name and state."""
    state = {"Status": "running", "ExitCode": 0, "StartedAt": "2026-11-23T23:34:09.442198813Z", **state}
    config = {"Labels": {"team": "research"}, "StopTimeout": state.pop("StopTimeout", None)}
    found = {"Id": id_, "Name": f"/{name}", "State": state, "RestartCount": count, "Config": config}
    engine.answers["GET", f"/containers/{name}/json"] = (200, found)


class DockerWorld:
    """An Engine with one container, `bot`."""

    backend = BACKEND

    def __init__(self, engine: FakeApi) -> None:
        self.engine, self.options = engine, {"socket": str(engine.socket)}
        self.target = make_target("docker", "bot", options=self.options)
        self.unknown_target = make_target("docker", "stranger", options=self.options)

    def runs(self) -> None:
        holds(self.engine)

    def has_failed(self) -> None:
        holds(self.engine, Status="exited", ExitCode=137, OOMKilled=True, Error="x" * 1000, count=3)

    def hangs(self) -> None:
        self.runs()
        self.backend.check(self.target, 5)
        self.engine.hang = 30

    def talks_nonsense(self) -> None:
        self.engine.answers["GET", "/containers/bot/json"] = (200, b"<html>")

    def is_gone(self) -> None:
        self.engine.__exit__()

    def refuses(self) -> None:
        self.runs()
        self.backend.check(self.target, 5)
        self.engine.answers["POST", f"/containers/{FIRST}/restart"] = (403, b"Forbidden by policy")


@pytest.fixture
def world(engine: FakeApi) -> DockerWorld:
    return DockerWorld(engine)


class TestDocker(BackendCases):
    bad_names = ("../info", "-v", "a/b", "bot?all=1", "label:")


def test_docker_can_select_targets() -> None:
    assert isinstance(Docker(), Backend)
    assert isinstance(Docker(), Finder)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("running", State.RUNNING),
        ("exited", State.STOPPED),
        ("dead", State.STOPPED),
        ("created", State.STOPPED),
        ("paused", State.UNKNOWN),
        ("restarting", State.UNKNOWN),
        ("removing", State.UNKNOWN),
        ("", State.UNKNOWN),
    ],
)
def test_docker_states_are_mapped(engine: FakeApi, bot: Target, status: str, state: State) -> None:
    holds(engine, Status=status)
    assert Docker().check(bot, 2).state is state


def test_running_container_shows_health_and_restarts(engine: FakeApi, bot: Target) -> None:
    holds(engine, Health={"Status": "unhealthy"}, count=2, OOMKilled=False, Error="")
    seen = Docker().check(bot, 2)
    assert seen.evidence == {
        "Id": "1" * 12,
        "Status": "running",
        "Health": "unhealthy",
        "RestartCount": 2,
        "StartedAt": "2026-11-23T23:34:09.442198813Z",
    }
    assert seen.why == "its health check is failing"


def test_out_of_memory_is_reported(engine: FakeApi, bot: Target) -> None:
    holds(engine, Status="exited", ExitCode=137, OOMKilled=True, count=3, FinishedAt="2026-11-23T23:35:00Z")
    seen = Docker().check(bot, 2)
    assert seen.why == "Docker says exited (code 137, out of memory), restarted 3 times"
    assert (seen.evidence["OOMKilled"], seen.evidence["ExitCode"]) == (True, 137)
    assert seen.evidence["FinishedAt"] == "2026-11-23T23:35:00Z"
    assert not seen.ended


@pytest.mark.parametrize(("code", "ended"), [(0, True), (143, True), (130, True), (1, False), (137, False)])
def test_clean_exit_is_not_a_failure(engine: FakeApi, bot: Target, code: int, *, ended: bool) -> None:
    holds(engine, Status="exited", ExitCode=code)
    assert Docker().check(bot, 2).ended is ended


def test_stopped_container_is_not_a_failure(engine: FakeApi, bot: Target) -> None:
    holds(engine, Status="exited", ExitCode=137)
    engine.answers["GET", "/events"] = (200, b'{"Action":"stop"}\n{"Action":"stop"}\n')
    seen = Docker().check(bot, 2)
    assert seen.ended
    assert seen.why == "Docker says exited (code 137): stopped by someone, or finished"
    query = engine.asked[-1].query
    assert json.loads(query["filters"]) == {"container": [FIRST], "event": ["stop"]}
    assert query["since"] == "1795476849.442198813"


@pytest.mark.parametrize(
    ("text", "since"),
    [("2026-11-24T01:34:09.5+02:00", "1795476849.5"), ("2026-11-23T23:34:09Z", "1795476849"), ("yesterday", "0")],
)
def test_start_time_is_read_in_every_zone(engine: FakeApi, bot: Target, text: str, since: str) -> None:
    holds(engine, Status="exited", ExitCode=1, StartedAt=text)
    Docker().check(bot, 2)
    assert engine.asked[-1].query["since"] == since


def test_missing_container_is_missing(engine: FakeApi, bot: Target) -> None:
    seen = Docker().check(bot, 2)
    assert (seen.state, seen.missing, seen.why) == (State.UNKNOWN, True, "Docker has no container bot")


def test_failing_engine_is_unknown_not_missing(engine: FakeApi, bot: Target) -> None:
    engine.answers["GET", "/containers/bot/json"] = (500, {"message": "disk is full"})
    seen = Docker().check(bot, 2)
    assert (seen.state, seen.missing, seen.why) == (State.UNKNOWN, False, "Docker answered: disk is full")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", {}, {"Id": FIRST, "State": None, "Config": []}])
def test_malformed_answer_is_unknown(engine: FakeApi, bot: Target, body: Any) -> None:
    engine.answers["GET", "/containers/bot/json"] = (200, body)
    assert Docker().check(bot, 2).state is State.UNKNOWN


def test_hanging_engine_is_unknown_in_time(engine: FakeApi, bot: Target) -> None:
    engine.hang = 5
    seen = Docker().check(bot, 0.2)
    assert seen.state is State.UNKNOWN
    assert seen.why.endswith("no answer within 0.2 s")


def test_unreachable_engine_is_unknown(tmp_path: Path) -> None:
    seen = Docker().check(make_target("docker", "bot", options={"socket": f"{tmp_path}/none"}), 1)
    assert (seen.state, seen.missing) == (State.UNKNOWN, False)
    assert seen.why == f"Docker cannot be reached at {tmp_path}/none: No such file or directory"


def test_socket_permission_error_explains_the_fix() -> None:
    engine = Engine(make_target("docker", "bot", options={"socket": "/d.sock"}), 1)
    said = engine.problem(Reply(0, problem="Permission denied"))
    assert said == "Docker cannot be reached at /d.sock: Permission denied; add the runner's user to the socket's group"


def test_socket_comes_from_the_environment(engine: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine.socket}")
    holds(engine)
    assert Docker().check(make_target("docker", "bot"), 2).state is State.RUNNING


def test_network_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.1:2375")
    assert "set DOCKER_HOST=unix:///PATH" in Docker().validation_error(make_target("docker", "bot"))


@pytest.mark.parametrize("name", ["bot", "stack_bot.1", FIRST, "label:team", "label:team=research"])
def test_names_ids_and_labels_are_valid(name: str) -> None:
    assert Docker().validation_error(make_target("docker", name)) == ""


@pytest.mark.parametrize("grace", [-1, 601, "soon"])
def test_invalid_grace_is_refused(grace: Any) -> None:
    assert "grace must be" in Docker().validation_error(make_target("docker", "bot", options={"grace": grace}))


def test_restart_targets_the_container_last_seen(engine: FakeApi, bot: Target) -> None:
    docker = Docker()
    holds(engine, StopTimeout=3)
    engine.answers["POST", f"/containers/{FIRST}/restart"] = (204, None)
    docker.check(bot, 2)
    done = docker.restart(bot, 60)
    assert (done.ok, done.message) == (True, "Docker restarted bot (111111111111)")
    (post,) = [asked for asked in engine.asked if asked.method == "POST"]
    assert post.query == {"t": "3"}


def test_new_container_of_same_name_is_left_alone(engine: FakeApi, bot: Target) -> None:
    docker = Docker()
    holds(engine, id_=FIRST)
    docker.check(bot, 2)
    holds(engine, id_=SECOND)
    engine.answers["POST", f"/containers/{SECOND}/restart"] = (204, None)
    refused = docker.restart(bot, 60)
    assert (refused.ok, engine.paths("POST")) == (False, [f"/containers/{FIRST}/restart"])
    assert refused.message == "container 111111111111 is gone; the new container bot was not touched"
    assert docker.check(bot, 2).evidence["Id"] == "2" * 12
    assert docker.restart(bot, 60).ok


def test_unseen_container_is_left_alone(engine: FakeApi, bot: Target) -> None:
    assert not Docker().restart(bot, 60).ok
    assert engine.paths("POST") == []


def test_restart_fails_if_it_stays_down(engine: FakeApi, bot: Target) -> None:
    docker = Docker()
    holds(engine, Status="exited", ExitCode=1)
    engine.answers["POST", f"/containers/{FIRST}/restart"] = (204, None)
    docker.check(bot, 2)
    done = docker.restart(bot, 60)
    assert (done.ok, done.message) == (False, "restarted bot, but it is not running: Docker says exited (code 1)")


def test_grace_leaves_docker_time_to_answer(engine: FakeApi, bot: Target) -> None:
    docker = Docker()
    holds(engine, StopTimeout=300)
    engine.answers["POST", f"/containers/{FIRST}/stop"] = (304, None)
    docker.check(bot, 2)
    assert docker.stop(bot, 30).ok
    assert engine.asked[-1].query == {"t": "25"}


def test_label_selects_all_its_containers(engine: FakeApi) -> None:
    watch = make_target("docker", "label:team=research", options={"socket": str(engine.socket)})
    engine.answers["GET", "/containers/json"] = (
        200,
        [
            {"Names": ["/writer/db", "/research.job.writer"], "Labels": {"team": "research"}},
            {"Names": ["/reader"], "Labels": {"team": "research", "clevagent.agent": "The reader"}},
        ],
    )
    found = Docker().find(watch, 2)
    assert found is not None
    assert [(each.name, each.agent) for each in found] == [
        ("reader", "The reader"),
        ("research.job.writer", "job.writer"),
    ]
    assert engine.asked[-1].query == {"all": "1", "filters": '{"label": ["team=research"]}'}


def test_containers_sharing_an_agent_keep_their_names(engine: FakeApi) -> None:
    watch = make_target("docker", "label:team", options={"socket": str(engine.socket)})
    labels = {"clevagent.agent": "bot"}
    listed = [{"Names": [f"/bot-{number}"], "Labels": labels} for number in (1, 2)]
    engine.answers["GET", "/containers/json"] = (200, listed)
    assert [each.agent for each in Docker().find(watch, 2) or ()] == ["bot-1", "bot-2"]


def test_failed_selection_is_not_empty(tmp_path: Path) -> None:
    watch = make_target("docker", "label:team", options={"socket": f"{tmp_path}/none"})
    assert Docker().find(watch, 1) is None


def test_container_without_its_label_is_missing(engine: FakeApi) -> None:
    docker = Docker()
    holds(engine)
    ours = make_target("docker", "bot", options={"socket": str(engine.socket), "label": "team=research"})
    others = make_target("docker", "bot", options={"socket": str(engine.socket), "label": "team=sales"})
    assert docker.check(ours, 2).state is State.RUNNING
    assert docker.check(others, 2).missing
    assert not docker.restart(others, 60).ok
    assert engine.paths("POST") == []
