"""The small form of bench/fleet.py: real processes on PostgreSQL and Redis, whose agents stop, and hosts disappear."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.flows.installation import ROOT, environment

pytestmark = [pytest.mark.live, pytest.mark.postgres, pytest.mark.xdist_group("fleet")]
# Larger ones by the environment: 1,000 agents every 5 s for 60 s is what a machine of its own is measured with.
AGENTS = int(os.environ.get("FLEET_AGENTS", "200"))
PERIOD = float(os.environ.get("FLEET_PERIOD", "2"))
SECONDS = float(os.environ.get("FLEET_SECONDS", "20"))
# A Redis database that no other test uses.
REDIS_DATABASE = 8


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    """One run in which a tenth of the agents stops for good within one second."""
    servers = {
        "DATABASE_URL": os.environ["DATABASE_URL"],
        "REDIS_URL": f"{os.environ['REDIS_URL'].rpartition('/')[0]}/{REDIS_DATABASE}",
    }
    size = ["--agents", str(AGENTS), "--period", str(PERIOD), "--seconds", str(SECONDS), "--per-host", "20"]
    argv = [sys.executable, "bench/fleet.py", *size, "--silence", str(AGENTS // 10), "--json"]
    limits: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 380 + SECONDS}
    run = subprocess.run(argv, cwd=ROOT, env=environment(**servers), **limits)
    assert run.returncode in (0, 1), run.stderr
    assert run.stdout, run.stderr
    print(run.stdout)
    measured: dict[str, Any] = json.loads(run.stdout)
    return measured


def test_no_healthy_agent_is_reported(figures: dict[str, Any]) -> None:
    assert figures["false_incidents"] == 0


def test_acknowledged_heartbeats_are_stored_once(figures: dict[str, Any]) -> None:
    assert figures["answered"] > 0
    assert (figures["lost"], figures["stored_twice"], figures["wrong_sums"]) == (0, 0, 0)


def test_every_silent_agent_is_reported(figures: dict[str, Any]) -> None:
    assert (figures["due"], figures["missed"], figures["unreported"]) == (AGENTS // 10, 0, 0)


def test_no_event_is_delivered_twice(figures: dict[str, Any]) -> None:
    assert figures["messages"] > 0
    assert (figures["repeated_messages"], figures["max_copies"]) == (0, 1)
