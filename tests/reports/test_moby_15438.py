"""https://github.com/moby/moby/issues/15438

Docker tells of a `kill` also when somebody only stops or reloads a container.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clevagent.runner.backends.docker import Docker
from clevagent.runner.target import make_target

from tests.client_sdk.runner.fake_api import FakeApi
from tests.client_sdk.runner.test_docker import holds


@pytest.mark.parametrize(("sent", "ended"), [("15", True), ("9", True), ("1", False)])
def test_only_a_signal_that_ends_it_is_a_stop(tmp_path: Path, sent: str, *, ended: bool) -> None:
    kill = json.dumps({"Action": "kill", "Actor": {"Attributes": {"signal": sent}}}).encode()
    with FakeApi(tmp_path / "d.sock") as engine:
        bot = make_target("docker", "bot", options={"socket": str(engine.socket)})
        holds(engine, Status="exited", ExitCode=2)
        engine.answers["GET", "/events"] = lambda asked: (200, kill if '"kill"' in asked.query["filters"] else b"")
        assert Docker().check(bot, 2).ended is ended
