"""The small form of bench/fleet.py: a fleet against the real processes on PostgreSQL and Redis, some of which stops."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from bench.fleet_plan import OBSERVED
from tests.flows.installation import ROOT, environment, slowdown

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.postgres, pytest.mark.xdist_group("fleet")]
# Other sizes by the environment, for example on a machine that does something else meanwhile.
AGENTS = int(os.environ.get("FLEET_AGENTS", "1000"))
PERIOD = float(os.environ.get("FLEET_PERIOD", "5"))
SECONDS = float(os.environ.get("FLEET_SECONDS", "60"))
# A fault of 20 s begins at half time, and 15 s more are observed after it.
FAULT_AFTER = 5.0
# A Redis database that no other test uses.
REDIS_DATABASE = 8


def run_fleet(*options: str, agents: int = AGENTS, seconds: float = SECONDS) -> dict[str, Any]:
    servers = {
        "DATABASE_URL": os.environ["DATABASE_URL"],
        "REDIS_URL": f"{os.environ['REDIS_URL'].rpartition('/')[0]}/{REDIS_DATABASE}",
    }
    size = ["--agents", str(agents), "--period", str(PERIOD), "--seconds", str(seconds), "--per-host", "50"]
    argv = [sys.executable, "bench/fleet.py", *size, *options, "--json"]
    limits: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 600 + SECONDS}
    run = subprocess.run(argv, cwd=ROOT, env=environment(**servers), **limits)
    assert run.returncode in (0, 1), run.stderr
    assert run.stdout, run.stderr
    print(run.stdout)
    measured: dict[str, Any] = json.loads(run.stdout)
    return measured


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    """One run in which a tenth of the agents stops for good within one second."""
    return run_fleet("--silence", str(AGENTS // 10), "--observed", str(OBSERVED * slowdown()))


def test_no_healthy_agent_is_reported(figures: dict[str, Any]) -> None:
    assert figures["false_incidents"] == 0


def test_acknowledged_heartbeats_are_stored_once(figures: dict[str, Any]) -> None:
    assert figures["answered"] > 0
    assert (figures["lost"], figures["stored_twice"], figures["wrong_sums"]) == (0, 0, 0)


def test_every_silent_agent_is_reported(figures: dict[str, Any]) -> None:
    """Unless the machine was too slow for the fleet: then the watchdog says so, and deadlines move."""
    assert figures["due"] == AGENTS // 10
    if sum(figures["outages"].values()) < OBSERVED / 2:
        assert (figures["missed"], figures["unreported"]) == (0, 0), figures["outages"]


def test_no_event_is_delivered_twice(figures: dict[str, Any]) -> None:
    assert (figures["repeated_messages"], figures["max_copies"]) in ((0, 0), (0, 1))


def test_twice_the_load_blames_nobody() -> None:
    """Detail is shed first, then clients are asked to wait; what is taken is stored once, and its sums are right."""
    measured = run_fleet("--overload", "2", agents=AGENTS // 5, seconds=FAULT_AFTER * 2)
    assert measured["false_incidents"] == 0, measured["false_examples"]
    assert (measured["lost"], measured["stored_twice"], measured["wrong_sums"]) == (0, 0, 0)
    assert measured["refused_without_time"] == 0
    assert measured["event_rate"] > 0


@pytest.mark.parametrize("kind", ["lock", "commit", "refuse"])
def test_a_slow_database_blames_nobody(kind: str) -> None:
    """For 20 s rows are locked, each commit takes 500 ms, or no connection is accepted."""
    measured = run_fleet("--slow-database", kind, agents=AGENTS // 5, seconds=FAULT_AFTER * 2)
    assert measured["false_incidents"] == 0, measured["false_examples"]
    assert (measured["lost"], measured["stored_twice"], measured["wrong_sums"]) == (0, 0, 0)
    assert measured["incidents"] == 0
    assert measured["well_again_after"] < 10 * slowdown()
