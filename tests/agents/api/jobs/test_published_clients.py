"""Published clients of Healthchecks against the server; only their base address is changed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from django.utils import timezone

from agents.fleet import services
from agents.ingest import committer
from agents.models import Heartbeat, Job
from teams.models import Project
from tests.client_sdk import environments

PROGRAMS: Final = Path(__file__).parent / "programs"
NPM_CLIENT: Final = "healthchecks-io-client@1.0.4"

pytestmark = pytest.mark.live


@pytest.fixture
def job(transactional_db: None, project: Project) -> Iterator[Job]:
    agent = services.add_agent(project=project, name="backup", kind="job", actor="x", now=timezone.now())
    yield agent.job
    committer.close()


def events(job: Job) -> list[tuple[str, str]]:
    """What was received, in order: the event and the body."""
    rows = Heartbeat.objects.filter(agent=job.agent).order_by("id").values_list("content", flat=True)
    return [(content["job"]["event"], content.get("custom") or "") for content in rows if content]


def test_python_clients_need_only_another_base(job: Job, live_server: Any) -> None:
    arguments = (f"{live_server.url}/ping", str(job.ping_id), job.agent.project.ping_key, "backup")
    environments.run("healthchecks", PROGRAMS / "healthchecks_clients.py", *arguments)
    received = events(job)
    by_client = ["start", "start", "success", "success", "fail", "fail", "fail"]
    assert [event for event, _ in received] == [*by_client, "start", "success", "start", "success", "start", "fail"]
    assert received[0] == ("start", "plain { text")
    assert received[8] == ("success", "rows=7")
    assert "ValueError: disk full" in received[-1][1]


def test_npm_client_needs_only_another_base(job: Job, live_server: Any) -> None:
    run = [str(node()), str(PROGRAMS / "healthchecks_client.js"), f"{live_server.url}/ping", str(job.ping_id)]
    done = subprocess.run(run, env={**os.environ, "NODE_PATH": str(modules())}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert events(job) == [("start", ""), ("success", "all good"), ("fail", "7 rows")]


def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("needs Node")
    return found


def modules() -> Path:
    """The npm client's folder, installed once. Skips the test if the registry cannot be reached."""
    home = Path(os.environ.get("CLEVAGENT_TEST_ENVIRONMENTS") or environments.ROOT / ".test-environments")
    folder = home / "healthchecks-npm"
    if not (folder / "node_modules" / "healthchecks-io-client").exists():
        folder.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), NPM_CLIENT]
        done = subprocess.run(install, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"the npm registry cannot be reached: {done.stderr[-200:]}")
    return folder / "node_modules"


def test_requests_of_runitor_are_answered(job: Job, live_server: Any) -> None:
    """As its source describes: POST with text/plain, a User-Agent, one connection; only 200 is a success."""
    url = urlsplit(live_server.url)
    connection = HTTPConnection(str(url.hostname), url.port)
    headers = {"Content-Type": "text/plain", "User-Agent": "runitor/1.4"}
    for path, body in (("start", None), ("log", b"half way"), ("0", b"done\n"), ("1", b"\x00\xffbinary")):
        for handle in (str(job.ping_id), f"{job.agent.project.ping_key}/backup"):
            connection.request("POST", f"/ping/{handle}/{path}", body, headers)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"OK")
            assert int(answer.headers["Ping-Body-Limit"]) == 10_000
    connection.close()
    names = [event for event, _ in events(job)]
    assert names == ["start", "start", "log", "log", "success", "success", "fail", "fail"]
