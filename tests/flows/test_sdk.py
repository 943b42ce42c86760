"""The SDK as a user gets it: the wheel from a running server, in a new environment, in the example agent.

The example names no endpoint, so the installation listens at the SDK's default: port 8000.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.installation import PATIENCE, ROOT, Installation, wait_until

pytestmark = [pytest.mark.live, pytest.mark.sqlite, pytest.mark.xdist_group("sdk")]
EXAMPLE = Path(__file__).with_name("programs") / "research_agent.py"
AGENT = "research-agent-prod"
PORT = 8000


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            pytest.skip(f"port {PORT} is taken")
    installation = Installation(tmp_path_factory.mktemp("sdk") / "data", port=PORT)
    try:
        yield installation.start()
    finally:
        installation.stop()


@pytest.fixture(scope="module")
def installed(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A new environment after the commands of docs/sdk.md: its Python, and the output of the commands."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    (commands,) = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "sdk.md").read_text(), re.DOTALL)
    assert installation.url in commands
    env = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PIP_CONFIG_FILE": os.devnull}
    commands = commands.replace("cv_…", installation.key)
    done = subprocess.run(["sh", "-ec", commands], env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return folder / "bin" / "python", done.stdout


@pytest.fixture(scope="module")
def python(installed: tuple[Path, str]) -> Path:
    return installed[0]


def environment(installation: Installation) -> dict[str, str]:
    """A shell in which only the key is set."""
    return {"PATH": os.environ["PATH"], "CLEVAGENT_API_KEY": installation.key}


def status(installation: Installation, agent: str) -> dict[str, Any]:
    request = urllib.request.Request(f"{installation.url}/api/v1/status", headers={"X-API-Key": installation.key})
    _, answer = installation.request(request)
    found: dict[str, Any] = next((one for one in answer["results"] if one["name"] == agent), {})
    return found


def test_example_runs_unchanged_and_stops_quietly(installation: Installation, python: Path) -> None:
    with subprocess.Popen(
        [str(python), "-W", "error", str(EXAMPLE)],
        env=environment(installation),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(lambda: status(installation, AGENT).get("tokens_today") == 834, "its first iteration is told")
        assert status(installation, AGENT)["status"] == "ok"
        process.send_signal(signal.SIGTERM)  # its own handler lets it finish its sleep of 15 s
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "", "")
    wait_until(lambda: status(installation, AGENT)["status"] == "stopped", "it said goodbye")
    seen = status(installation, AGENT)
    assert (seen["tokens_today"], float(seen["cost_today_usd"]), seen["open_incident"]) == (834, 0.0124, None)


def test_documented_commands_install_the_sdk(installation: Installation, installed: tuple[Path, str]) -> None:
    assert "the server received a heartbeat from research-agent" in installed[1]
    assert status(installation, "research-agent")["last_heartbeat_at"]


def test_spend_survives_an_outage_to_the_cent(installation: Installation, python: Path, tmp_path: Path) -> None:
    """The server hangs, then the agent is killed and restarted: its spool has the rest."""
    env = {**environment(installation), "CLEVAGENT_AGENT": "spender", "CLEVAGENT_SPOOL": str(tmp_path / "spool")}
    code = "import clevagent, time\nclevagent.init(interval=1)\n" + (
        "for number in range(10_000):\n"
        "    clevagent.log_cost(1, 0.01)\n"
        "    print(number + 1, flush=True)\n"
        "    time.sleep(0.05)\n"
    )
    with subprocess.Popen([str(python), "-c", code], env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = iter(process.stdout)
        wait_until(lambda: status(installation, "spender"), "it reports")
        web = installation.pid("web")
        assert web
        os.kill(web, signal.SIGSTOP)
        try:
            time.sleep(2)  # spending of these seconds is only on disk
        finally:
            os.kill(web, signal.SIGCONT)
        process.kill()
        spent = int([line for line in said if line.strip()][-1])
    again = "import clevagent\nclevagent.init(interval=1)\nassert clevagent.flush(10)\n"
    subprocess.run([str(python), "-c", again], env=env, check=True, timeout=PATIENCE)
    seen = status(installation, "spender")
    # Spending of the last seconds before kill -9 was not yet on disk; nothing is counted twice.
    assert spent - 120 <= seen["tokens_today"] <= spent
    assert json.loads(str(seen["cost_today_usd"])) == pytest.approx(seen["tokens_today"] / 100)
    assert list(tmp_path.iterdir()) == []
