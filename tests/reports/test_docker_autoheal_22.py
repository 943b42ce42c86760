"""https://github.com/willfarrell/docker-autoheal/issues/22

A container that somebody stopped is started again, because it was unhealthy before.
"""

from __future__ import annotations

from pathlib import Path

from clevagent.runner.backends.docker import Docker
from clevagent.runner.target import make_target

from tests.client_sdk.runner.fake_api import FakeApi
from tests.client_sdk.runner.test_docker import holds


def test_stopped_while_unhealthy_stays_stopped(tmp_path: Path) -> None:
    with FakeApi(tmp_path / "d.sock") as engine:
        bot = make_target("docker", "bot", options={"socket": str(engine.socket)})
        holds(engine, Status="exited", ExitCode=137, Health={"Status": "unhealthy"})
        engine.answers["GET", "/events"] = (200, b'{"Action":"stop"}\n')
        seen = Docker().check(bot, 2)
    assert seen.ended
    assert "stopped by someone" in seen.why
