"""Follows docs/run-bare-python.md."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.services.guides import followed

pytestmark = [pytest.mark.live, pytest.mark.sqlite, pytest.mark.xdist_group("guide_bare_python")]
FASTER = {
    "interval=30, progress_timeout=120": "interval=1, progress_timeout=60",
    "interval = 30": "interval = 1",
    # A second is enough at a desk; on a busy machine the agent must not be killed before it has reported.
    "sleep 1; kill -9": """until status | grep -q '"status": "ok"'; do sleep 0.1; done; kill -9""",
    # A reader types the next line once the runner is up.
    "echo $! > runner.pid": "echo $! > runner.pid; until [ -e runner.json ]; do sleep 0.1; done",
}


def test_every_step_shows_what_the_page_says(tmp_path: Path) -> None:
    here = tmp_path / "home/research-agent"
    try:
        with followed("run-bare-python.md", tmp_path, FASTER) as (page, site):
            assert site.running.key not in page.seen
    finally:
        end_agent(here / "process-research-agent.json")
    assert (here / "agent.env").stat().st_mode & 0o777 == 0o600


def end_agent(kept: Path) -> None:
    """The runner leaves the agent running."""
    with suppress(OSError, ValueError):
        os.kill(json.loads(kept.read_text())["pid"], signal.SIGKILL)
