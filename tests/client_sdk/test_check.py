"""`python -m clevagent check`."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest
from clevagent import check
from clevagent.testing import FakeServer

from tests.client_sdk.conftest import Program
from tests.flows.installation import PATIENCE

pytestmark = pytest.mark.live


def run(program: Program, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-W", "error", "-m", "clevagent", "check", *arguments]
    return subprocess.run(argv, env={**program.environment, **env}, capture_output=True, text=True, timeout=PATIENCE)


def test_successful_check_prints_every_step(program: Program, server: FakeServer) -> None:
    done = run(program)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"ok   {server.url} is reachable",
        "ok   the API key is valid",
        "ok   the clocks agree within 5 s",
        "ok   the server received a heartbeat from bot",
    ]
    assert [(beat["agent"], beat["status"]) for beat in server.beats] == [("bot", "ok"), ("bot", "shutdown")]


def test_check_without_a_name_creates_no_agent(program: Program, server: FakeServer) -> None:
    done = run(program, CLEVAGENT_AGENT="")
    assert done.returncode == 0
    assert "--agent" in done.stdout
    assert server.beats == []


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({"CLEVAGENT_API_KEY": ""}, "Set CLEVAGENT_API_KEY"),
        ({"CLEVAGENT_API_KEY": "cv_wrong"}, "The API key is not valid"),
        ({"CLEVAGENT_ENDPOINT": "http://127.0.0.1:9"}, "does not answer"),
        ({"CLEVAGENT_ENDPOINT": "here"}, "is not an address"),
    ],
)
def test_problems_are_printed_with_a_fix(program: Program, env: dict[str, str], why: str) -> None:
    done = run(program, **env)
    assert done.returncode == 1
    assert why in done.stderr
    assert "Traceback" not in done.stderr


def test_clock_skew_is_reported(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.check_server(server.url, server.key, "", time.time() + 90) == 1
    assert re.search(r"\+9[01] s", capsys.readouterr().err)


def test_unanswered_heartbeat_is_reported(program: Program, server: FakeServer) -> None:
    server.on_beat = lambda beat: fail()
    assert "does not answer" in run(program).stderr


def fail() -> None:
    raise ZeroDivisionError
