"""https://github.com/moby/moby/issues/33593

Docker keeps so few events that those of a stop may be gone when they are asked for.
"""

from __future__ import annotations

from pathlib import Path

from clevagent.runner.backends.base import State
from clevagent.runner.backends.docker import Docker
from clevagent.runner.target import make_target

from tests.client_sdk.runner.fake_api import FakeApi
from tests.client_sdk.runner.test_docker import holds


def test_forgotten_end_is_no_known_crash(tmp_path: Path) -> None:
    with FakeApi(tmp_path / "d.sock") as engine:
        bot = make_target("docker", "bot", options={"socket": str(engine.socket)})
        holds(engine, Status="exited", ExitCode=137)
        engine.answers["GET", "/events"] = (200, b"")
        seen = Docker().check(bot, 2)
    assert (seen.state, seen.ended, seen.doubtful) == (State.STOPPED, False, True)
    assert "no longer knows" in seen.why
