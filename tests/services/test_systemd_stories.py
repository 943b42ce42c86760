"""The whole product around a real systemd: what hangs is found, restarted and seen to work again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.flows.installation import Installation, environment, wait_until
from tests.services.site import CARRIED_OUT_WITHIN, Site, directives, site
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
time.sleep(1000)  # alive, and no more than that
"""


@pytest.fixture(scope="module")
def here(manager: UserManager, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("systemd"), RESTART_DELAYS="1,1,1") as started:
        (started.folder / "agent.py").write_text(AGENT)
        yield started


@dataclass
class Story:
    """What was seen on the way."""

    seen: dict[str, Any] = field(default_factory=dict)


def start_agent(here: Site, manager: UserManager, name: str, **directives_: str) -> Path:
    """A unit that runs AGENT; the file whose being there makes it hang."""
    flag = here.folder / f"{name}.hang"
    env = directives({**here.env, "CLEVAGENT_AGENT": name})
    command = f"{sys.executable} {here.folder}/agent.py {flag}"
    manager.start(f"{name}.service", ExecStart=command, Environment=env, **directives_)
    return flag


@pytest.fixture(scope="module")
def hung(here: Site, manager: UserManager) -> Story:
    """A unit that hangs, and is restarted by command."""
    story, unit = Story(), "research.service"
    flag = start_agent(here, manager, "research")
    with here.runner("--watch", f"systemd:user/{unit}=research", **manager.env) as runner:
        here.until("research", "ok")
        here.arm("research")
        flag.touch()
        story.seen["hung"] = here.until("research", "stalled", "down")
        story.seen["alive"] = manager.show(unit, "ActiveState")
        story.seen["pid"] = manager.show(unit, "MainPID")
        here.command("research", "restart")
        wait_until(lambda: manager.show(unit, "MainPID") != story.seen["pid"], CARRIED_OUT_WITHIN, "restarted")
        here.until("research", "ok")
        wait_until(lambda: here.incidents("research")[0]["resolved_at"], 10, "the incident is closed")
        story.seen["incidents"] = here.incidents("research")
        story.seen["runner"] = runner.log.read_text()
    manager.remove(unit)
    return story


def test_a_hung_unit_is_found_stalled_while_systemd_calls_it_active(hung: Story) -> None:
    assert (hung.seen["hung"], hung.seen["alive"]) == ("stalled", "active")


def test_a_restart_by_command_ends_the_incident(hung: Story) -> None:
    (incident,) = hung.seen["incidents"]
    assert (incident["kinds"], incident["state"]) == (["stalled"], "resolved")
    said = [event["text"] for event in incident["timeline"]]
    assert "restart of user/research.service completed: systemctl restarted research.service" in said


def test_the_incident_has_its_time_to_recovery(hung: Story) -> None:
    (incident,) = hung.seen["incidents"]
    started, resolved = (datetime.fromisoformat(incident[name]) for name in ("started_at", "resolved_at"))
    assert 0 < (resolved - started).total_seconds() < 40


@pytest.fixture(scope="module")
def dying(here: Site, manager: UserManager) -> Story:
    """A unit that works for a moment and dies, again and again, with a runner that may restart it."""
    story, unit = Story(), "dying.service"
    # It is known, and may be restarted, before the runner asks for the first time.
    here.running.beat(here.key, agent="dying")
    here.arm("dying")
    starts = here.folder / "starts"
    manager.start(unit, ExecStart=f"/bin/sh -c 'echo >> {starts}; sleep 0.5; exit 3'")
    with here.runner("--watch", f"systemd:user/{unit}=dying", "--restart-on-down", **manager.env) as runner:
        wait_until(lambda: gave_up(here), 40, "it is given up")
        looks = len(here.beats("dying"))
        wait_until(lambda: len(here.beats("dying")) > looks + 1, 10, "the runner goes on to look")
        story.seen["runner"] = runner.log.read_text()
    story.seen["incidents"] = here.incidents("dying")
    story.seen["starts"] = len(starts.read_text().splitlines())
    story.seen["state"] = (manager.show(unit, "ActiveState"), here.status("dying"))
    manager.remove(unit)
    return story


def gave_up(here: Site) -> bool:
    return any("restart_failed" in incident["kinds"] for incident in here.incidents("dying"))


def test_a_dying_unit_is_restarted_three_times_and_no_more(dying: Story) -> None:
    assert dying.seen["starts"] == 1 + 3
    assert dying.seen["state"] == ("failed", "down")


def test_then_it_is_given_up_in_the_same_incident(dying: Story) -> None:
    (incident,) = dying.seen["incidents"]
    assert (incident["kinds"], incident["state"], incident["severity"]) == (
        ["error", "restart_failed"],
        "open",
        "critical",
    )
    said = [event["text"] for event in incident["timeline"]]
    assert said.count("restart of user/dying.service by the runner itself") == 3
    assert any(text.startswith("Gave up: 3 restarts within ") for text in said)


def test_the_runner_says_why_it_restarts_no_more(dying: Story) -> None:
    log = dying.seen["runner"]
    assert "Not responding: systemd says failed (exit-code, status 3)" in log
    assert log.count("dying.service is not restarted: 409: Restarting it again and again did not help") == 1


@pytest.fixture(scope="module")
def barked(manager: UserManager, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A unit with a watchdog of systemd's own hangs, and no server is there."""
    story, unit, folder = Story(), "barked.service", tmp_path_factory.mktemp("alone")
    (folder / "agent.py").write_text(AGENT)
    nobody = Site(Installation(folder), "cv_nobody", folder)
    watchdog = {"Type": "notify", "WatchdogSec": "2", "Restart": "on-watchdog", "RestartSec": "0"}
    flag = start_agent(nobody, manager, "barked", **watchdog)
    story.seen["pid"] = manager.show(unit, "MainPID")
    time.sleep(3)
    story.seen["working"] = (manager.show(unit, "MainPID"), manager.show(unit, "NRestarts"))
    story.seen["status"] = manager.show(unit, "StatusText")
    flag.touch()
    wait_until(lambda: manager.show(unit, "NRestarts") == "1", 10, "systemd restarts it")
    wait_until(lambda: manager.show(unit, "ActiveState") == "active", 10, "it is ready again")
    story.seen["restarted"] = manager.show(unit, "MainPID")
    yield story
    manager.remove(unit)


def test_systemd_lets_an_agent_alone_that_moves(barked: Story) -> None:
    assert barked.seen["working"] == (barked.seen["pid"], "0")


def test_systemd_itself_restarts_an_agent_that_hangs(barked: Story) -> None:
    # The unit is restarted for its watchdog, and for nothing else.
    assert barked.seen["restarted"] not in ("0", barked.seen["pid"])


def test_what_the_agent_said_last_is_its_status_line(barked: Story) -> None:
    assert barked.seen["status"].startswith("step at ")


@pytest.fixture(scope="module")
def installed(here: Site, manager: UserManager) -> Iterator[Story]:
    """The runner, set up as a service of the user, watching another unit."""
    story, unit = Story(), "clevagent-runner.service"
    manager.start("watched.service", ExecStart="/bin/sleep 1000")
    words = ["install", "--user", "--watch", "systemd:user/watched.service=watched", "--heartbeat-interval", "1"]
    env = environment(**here.env, **manager.env)
    # The package is not installed here: the unit's Python is to find it all the same.
    manager.systemctl("set-environment", f"PYTHONPATH={env['PYTHONPATH']}")
    argv = [sys.executable, "-m", "clevagent.runner", *words]
    story.seen["done"] = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60)
    story.seen["status"] = here.until("watched", "ok")
    story.seen["state"] = (manager.show(unit, "ActiveState"), manager.show(unit, "UnitFileState"))
    story.seen["command"] = manager.show(unit, "ExecStart")
    yield story
    for each in (unit, "watched.service"):
        manager.remove(each)
    manager.systemctl("unset-environment", "PYTHONPATH")


def test_install_starts_the_runner_as_a_unit(installed: Story) -> None:
    done = installed.seen["done"]
    assert done.returncode == 0, done.stderr
    assert installed.seen["state"] == ("active", "enabled")


def test_the_key_is_in_a_file_of_the_user_alone(installed: Story, here: Site, manager: UserManager) -> None:
    key = manager.folder / "config/clevagent/clevagent-runner.env"
    assert key.stat().st_mode & 0o777 == 0o600
    assert here.key in key.read_text()
    assert here.key not in installed.seen["command"] + installed.seen["done"].stdout
