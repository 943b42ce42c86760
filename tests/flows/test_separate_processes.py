"""On PostgreSQL and Redis each part is a separate process, started here with the commands of the systemd units."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.flows.installation import PATIENCE, ROOT, environment, free_port, wait_until
from tests.flows.installation import Installation as Site

pytestmark = [pytest.mark.live, pytest.mark.postgres, pytest.mark.xdist_group("separate")]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))


def setting(unit: Path, name: str) -> str:
    return next(line.partition("=")[2] for line in unit.read_text().splitlines() if line.startswith(f"{name}="))


def command(unit: Path, name: str, port: int) -> list[str]:
    words = setting(unit, name).replace("/opt/watchdog/.venv", sys.prefix).replace("--port 8000", f"--port {port}")
    return shlex.split(words)


@dataclass
class Deployment:
    folder: Path
    env: dict[str, str]
    site: Site
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self) -> None:
        web = next(unit for unit in UNITS if unit.stem.endswith("web"))
        subprocess.run(command(web, "ExecStartPre", 0), cwd=ROOT, env=self.env, check=True, capture_output=True)
        for unit in UNITS:
            with (self.folder / f"{unit.stem}.log").open("wb") as log:
                argv = command(unit, "ExecStart", self.site.port)
                self.processes[unit.stem] = subprocess.Popen(
                    argv, cwd=ROOT, env=self.env, stdout=log, stderr=log, start_new_session=True
                )

    def stop(self) -> dict[str, int]:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        return {name: process.wait(PATIENCE) for name, process in self.processes.items()}

    def key(self) -> str:
        words = "create_project --team T --project P --owner owner@example.com --json"
        argv = [sys.executable, "manage.py", *words.split()]
        done = subprocess.run(argv, cwd=ROOT, env=self.env, check=True, capture_output=True, text=True)
        key: str = json.loads(done.stdout)["api_key"]
        return key


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder, name = tmp_path_factory.mktemp("deployment"), f"separate_{os.getpid()}"
    server = os.environ["DATABASE_URL"]
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        site = Site(folder)
        env = environment(
            DATABASE_URL=f"{server.rpartition('/')[0]}/{name}",
            REDIS_URL=f"{os.environ['REDIS_URL'].rpartition('/')[0]}/9",
            SECRET_KEY="k3J9-rT7xQwZ_2mVbN8sLpYhGfDcRtEaUiOo5641KjHgFdSaPoIu",
            BASE_URL=f"http://127.0.0.1:{site.port}",
            DATA_DIR=str(folder),
            GRANIAN_WORKERS="2",
            LOG_FORMAT="json",
            PING_SMTP_PORT=str(free_port()),
        )
        made = Deployment(folder, env, site)
        try:
            made.start()
            wait_until(made.site.is_ready, logs(made))
            yield made
        finally:
            for process in made.processes.values():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # with its children, as systemd stops a unit
                process.wait()
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_all_parts_start_and_accept_a_heartbeat(deployment: Deployment) -> None:
    status, answer = deployment.site.beat(deployment.key(), agent="a", beat_id="one")
    assert (status, answer["status"]) == (200, "ok")


def test_web_processes_answer_consistently(deployment: Deployment) -> None:
    key = deployment.key()
    answers = [deployment.site.beat(key, agent="b", beat_id="the same") for _ in range(20)]
    assert {status for status, _ in answers} == {200}
    assert len({answer["agent_id"] for _, answer in answers}) == 1
    request = urllib.request.Request(
        f"http://127.0.0.1:{deployment.site.port}/api/v1/status", headers={"X-API-Key": key}
    )
    listed: Any = deployment.site.request(request)[1]
    assert len([agent for agent in listed["results"] if agent["name"] == "b"]) == 1


def test_logs_are_json(deployment: Deployment) -> None:
    deployment.site.get("/api/v1/nothing-here")
    log = deployment.folder / "watchdog-web.log"
    line = wait_until(lambda: next((line for line in log.read_text().splitlines() if "nothing-here" in line), None), "")
    assert json.loads(line)["request_id"]


def test_parts_stop_on_sigterm(deployment: Deployment) -> None:
    assert set(deployment.stop().values()) == {0}


def logs(deployment: Deployment) -> str:
    return "\n".join(path.read_text()[-2000:] for path in deployment.folder.glob("*.log"))
