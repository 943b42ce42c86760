"""The SDK on every supported Python that is installed, and with gevent."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

import pytest
import uv
from clevagent.testing import FakeServer

from tests.client_sdk import environments
from tests.client_sdk.conftest import Program
from tests.flows.installation import PATIENCE

pytestmark = pytest.mark.live

PROGRAMS = Path(__file__).with_name("programs")


@functools.cache
def interpreter(version: str) -> str | None:
    command = [uv.find_uv_bin(), "python", "find", "--no-project", "--no-python-downloads", "--system", version]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode == 0:
        return found.stdout.strip()
    kept_by_pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser().glob(f"versions/{version}.*/bin/python")
    return next(map(str, kept_by_pyenv), None)


@pytest.mark.parametrize("version", [f"3.{minor}" for minor in range(9, 15)])
def test_every_call_works_on_this_python(version: str, program: Program, server: FakeServer, tmp_path: Path) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"Python {version} is not installed")
    argv = [python, "-W", "error", str(PROGRAMS / "every_call.py")]
    done = subprocess.run(argv, env=program.environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")
    assert (server.tokens(), float(server.spent())) == (16, 0.25)
    assert [call["name"] for call in server.calls()] == ["search", "add"]
    assert server.beats[-1]["status"] == "shutdown"
    assert list(tmp_path.iterdir()) == []


def test_works_with_gevent(program: Program, server: FakeServer) -> None:
    output = environments.run("gevent", PROGRAMS / "greenlets.py", env=program.environment)
    assert output == "fine\n"
    assert (server.tokens(), float(server.spent())) == (1000, 10.0)
    assert max(beat.get("iteration_count", 0) for beat in server.beats) == 1000
    assert server.beats[-1]["status"] == "shutdown"
