"""The whole product with a real systemd: hung and crashing units are detected and restarted."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.flows.installation import PATIENCE, Installation, environment, wait_until
from tests.services.site import Site, directives, site
from tests.services.systemd import UserManager

pytestmark = [pytest.mark.live, pytest.mark.sqlite, pytest.mark.xdist_group("systemd")]
AGENT = """
import pathlib, sys, time
import clevagent

flag = pathlib.Path(sys.argv[1])
flag.unlink(missing_ok=True)
clevagent.init(interval=1, progress_timeout=5)
while not flag.exists():
    clevagent.ping(message=f"step at {time.time():.1f}")
    time.sleep(0.2)
time.sleep(1000)  # alive, but no progress
"""


@pytest.fixture(scope="module")
def here(manager: UserManager, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("systemd"), RESTART_DELAYS="1,1,1") as started:
        (started.folder / "agent.py").write_text(AGENT)
        yield started


Seen = dict[str, Any]


@pytest.fixture(scope="module")
def stories(here: Site, manager: UserManager) -> Iterator[dict[str, Future[Seen]]]:
    """What all stories observed. They run at the same time, because each is mostly waiting."""
    with ThreadPoolExecutor() as pool:
        yield {story.__name__: pool.submit(story, here, manager) for story in (hang, die, bark, install)}
    for unit in ("research", "dying", "barked", "watched", "clevagent-runner"):
        manager.remove(f"{unit}.service")


def start_agent(here: Site, manager: UserManager, name: str, **directives_: str) -> Path:
    """Start a unit that runs AGENT; returns the file whose existence makes it hang."""
    flag = here.folder / f"{name}.hang"
    env = directives({**here.env, "CLEVAGENT_AGENT": name})
    command = f"{sys.executable} {here.folder}/agent.py {flag}"
    manager.start(f"{name}.service", ExecStart=command, Environment=env, **directives_)
    return flag


def hang(here: Site, manager: UserManager) -> Seen:
    """A unit hangs and is restarted on request."""
    seen, unit = Seen(), "research.service"
    flag = start_agent(here, manager, "research")
    with here.runner("research", "--watch", f"systemd:user/{unit}=research", **manager.env) as runner:
        here.until("research", "ok")
        here.arm("research")
        flag.touch()
        seen["hung"] = here.until("research", "stalled", "down")
        seen["alive"] = manager.show(unit, "ActiveState")
        seen["pid"] = manager.show(unit, "MainPID")
        here.command("research", "restart")
        wait_until(lambda: manager.show(unit, "MainPID") != seen["pid"], "restarted")
        here.until("research", "ok")
        wait_until(lambda: here.incidents("research")[0]["resolved_at"], "the incident is closed")
        seen["incidents"] = here.incidents("research")
        seen["runner"] = runner.log.read_text()
    return seen


@pytest.fixture(scope="module")
def hung(stories: dict[str, Future[Seen]]) -> Seen:
    return stories["hang"].result()


def test_hung_unit_is_stalled(hung: Seen) -> None:
    assert (hung["hung"], hung["alive"]) == ("stalled", "active")


def test_requested_restart_resolves_the_incident(hung: Seen) -> None:
    (incident,) = hung["incidents"]
    assert (incident["kinds"], incident["state"]) == (["stalled"], "resolved")
    said = [event["text"] for event in incident["timeline"]]
    assert "Restart of user/research.service completed: systemctl restarted research.service" in said


def test_incident_has_a_time_to_recovery(hung: Seen) -> None:
    (incident,) = hung["incidents"]
    started, resolved = (datetime.fromisoformat(incident[name]) for name in ("started_at", "resolved_at"))
    assert 0 < (resolved - started).total_seconds() < 40


def die(here: Site, manager: UserManager) -> Seen:
    """A unit crashes again and again, with a runner that may restart it."""
    seen, unit = Seen(), "dying.service"
    # The agent exists and may be restarted before the runner's first poll.
    here.running.beat(here.key, agent="dying")
    here.arm("dying")
    starts = here.folder / "starts"
    manager.start(unit, ExecStart=f"/bin/sh -c 'echo >> {starts}; sleep 0.5; exit 3'")
    with here.runner("dying", "--watch", f"systemd:user/{unit}=dying", "--restart-on-down", **manager.env) as runner:
        wait_until(lambda: gave_up(here), "it is given up")
        looks = len(here.beats("dying"))
        wait_until(lambda: len(here.beats("dying")) > looks + 1, "the runner goes on to look")
        seen["runner"] = runner.log.read_text()
        seen["incidents"] = here.incidents("dying")
        seen["starts"] = len(starts.read_text().splitlines())
        seen["state"] = (manager.show(unit, "ActiveState"), here.status("dying"))
    return seen


def gave_up(here: Site) -> bool:
    return any("restart_failed" in incident["kinds"] for incident in here.incidents("dying"))


@pytest.fixture(scope="module")
def dying(stories: dict[str, Future[Seen]]) -> Seen:
    return stories["die"].result()


def test_crashing_unit_is_restarted_three_times(dying: Seen) -> None:
    assert dying["starts"] == 1 + 3
    assert dying["state"] == ("failed", "down")


def test_giving_up_extends_the_same_incident(dying: Seen) -> None:
    (incident,) = dying["incidents"]
    assert (incident["kinds"], incident["state"], incident["severity"]) == (
        ["error", "restart_failed"],
        "open",
        "critical",
    )
    said = [event["text"] for event in incident["timeline"]]
    assert said.count("Restart of user/dying.service by its runner") == 3
    assert any(text.startswith("Gave up: 3 restarts within ") for text in said)


def test_runner_logs_why_it_stops_restarting(dying: Seen) -> None:
    log = dying["runner"]
    assert "Not responding: systemd says failed (exit-code, status 3)" in log
    assert log.count("Not restarting systemd:user/dying.service: 409: Repeated restarts did not help") == 1


def bark(here: Site, manager: UserManager) -> Seen:
    """A unit with systemd's watchdog hangs, without a server."""
    seen, unit = Seen(), "barked.service"
    nobody = Site(Installation(here.folder), "cv_nobody", here.folder)
    watchdog = {"Type": "notify", "WatchdogSec": "2", "Restart": "on-watchdog", "RestartSec": "0"}
    flag = start_agent(nobody, manager, "barked", **watchdog)
    seen["pid"] = manager.show(unit, "MainPID")
    time.sleep(3)
    seen["working"] = (manager.show(unit, "MainPID"), manager.show(unit, "NRestarts"))
    seen["status"] = manager.show(unit, "StatusText")
    flag.touch()
    wait_until(lambda: manager.show(unit, "NRestarts") == "1", "systemd restarts it")
    wait_until(lambda: manager.show(unit, "ActiveState") == "active", "it is ready again")
    seen["restarted"] = manager.show(unit, "MainPID")
    return seen


@pytest.fixture(scope="module")
def barked(stories: dict[str, Future[Seen]]) -> Seen:
    return stories["bark"].result()


def test_systemd_watchdog_spares_working_agent(barked: Seen) -> None:
    assert barked["working"] == (barked["pid"], "0")


def test_systemd_watchdog_restarts_hung_agent(barked: Seen) -> None:
    # The unit is restarted only by its watchdog.
    assert barked["restarted"] not in ("0", barked["pid"])


def test_last_ping_message_is_the_status_line(barked: Seen) -> None:
    assert barked["status"].startswith("step at ")


def install(here: Site, manager: UserManager) -> Seen:
    """The runner, installed as a user service, watches another unit."""
    seen, unit = Seen(), "clevagent-runner.service"
    manager.start("watched.service", ExecStart="/bin/sleep 1000")
    watch = ["--watch", "systemd:user/watched.service=watched", "--heartbeat-interval", "1"]
    words = ["install", "--user", *watch, "--state", str(here.folder / "installed.json")]
    env = environment(**here.env, **manager.env)
    # The package is not installed here, but the unit's Python must find it.
    manager.systemctl("set-environment", f"PYTHONPATH={env['PYTHONPATH']}")
    argv = [sys.executable, "-m", "clevagent.runner", *words]
    seen["done"] = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=PATIENCE)
    seen["status"] = here.until("watched", "ok")
    seen["state"] = (manager.show(unit, "ActiveState"), manager.show(unit, "UnitFileState"))
    seen["command"] = manager.show(unit, "ExecStart")
    return seen


@pytest.fixture(scope="module")
def installed(stories: dict[str, Future[Seen]]) -> Seen:
    return stories["install"].result()


def test_install_starts_the_runner_as_a_unit(installed: Seen) -> None:
    done = installed["done"]
    assert done.returncode == 0, done.stderr
    assert installed["state"] == ("active", "enabled")


def test_runner_logs_target_as_a_journal_field(installed: Seen, manager: UserManager) -> None:
    assert manager.journal("CLEVAGENT_TARGET=systemd:user/watched.service")


def test_key_file_is_private_to_the_user(installed: Seen, here: Site, manager: UserManager) -> None:
    key = manager.folder / "config/clevagent/clevagent-runner.env"
    assert key.stat().st_mode & 0o777 == 0o600
    assert here.key in key.read_text()
    assert here.key not in installed["command"] + installed["done"].stdout
