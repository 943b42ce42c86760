"""The whole product with a real Docker Engine: an unmodified agent hangs and is restarted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.flows.installation import wait_until
from tests.services.docker import Engine
from tests.services.site import Site, site

pytestmark = [pytest.mark.live, pytest.mark.sqlite, pytest.mark.xdist_group("docker")]
# Writes a line per step until it hangs: then it is only alive, and ignores SIGTERM.
AGENT = "rm -f /w/hang; while [ ! -e /w/hang ]; do date >> /w/log; sleep 0.2; done; sleep 1000"
TARGETS = """
[[targets]]
type = "docker"
target = "worker"
progress_timeout = 5
probe = {{ log = "{log}" }}
grace = 1

[[targets]]
type = "docker"
target = "label:watched=yes"
progress_timeout = 5
probe = {{ output = true }}
"""
HELPER = "while :; do echo a step; sleep 0.2; done"
LABELS = ("--label", "watched=yes", "--label", "clevagent.agent=Helper")


@pytest.fixture(scope="module")
def here(docker: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("docker")) as started:
        yield started


@dataclass
class Story:
    """What was observed on the way."""

    seen: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def hung(here: Site, docker: Engine) -> Iterator[Story]:
    """A container hangs, is restarted and stopped on request; another container is discovered by its label."""
    story, work = Story(), here.folder / "work"
    work.mkdir()
    docker.run("worker", AGENT, "--volume", f"{work}:/w", "--restart", "always")
    docker.run("helper", HELPER, *LABELS)
    targets = here.folder / "runner.toml"
    targets.write_text(TARGETS.format(log=work / "log"))
    with here.runner("worker", "--config", str(targets), "--restart-on-down", **docker.env) as runner:
        live(here, docker, work / "hang", story.seen)
        story.seen["runner"] = runner.log.read_text()
    yield story
    docker.remove("worker", "helper")


def live(here: Site, docker: Engine, flag: Path, seen: dict[str, Any]) -> None:
    here.until("worker", "ok")
    here.until("Helper", "ok")
    wait_until(lambda: here.agent("worker")["last_progress_at"], "the probe has seen progress")
    here.arm("worker")
    started = docker.state("worker", "StartedAt")
    flag.touch()
    seen["hung"] = here.until("worker", "stalled", "down")
    seen["container"] = docker.state("worker")
    here.command("worker", "restart")
    wait_until(lambda: docker.state("worker", "StartedAt") != started, "restarted")
    here.until("worker", "ok")
    wait_until(lambda: here.incidents("worker")[0]["resolved_at"], "the incident is closed")
    seen["incidents"], seen["beats"] = here.incidents("worker"), here.beats("worker")
    seen["helper"] = here.agent("Helper")
    stop(here, docker, seen)


def stop(here: Site, docker: Engine, seen: dict[str, Any]) -> None:
    here.command("worker", "stop")
    wait_until(lambda: docker.state("worker") == "exited", "stopped")
    here.until("worker", "stopped")
    looks = len(here.beats("worker"))
    wait_until(lambda: len(here.beats("worker")) > looks + 1, "the runner goes on to look")
    seen["stopped"] = (docker.state("worker"), here.status("worker"), len(here.incidents("worker")))


def test_hung_container_is_stalled(hung: Story) -> None:
    assert (hung.seen["hung"], hung.seen["container"]) == ("stalled", "running")


def test_requested_restart_resolves_the_incident(hung: Story) -> None:
    (incident,) = hung.seen["incidents"]
    assert (incident["kinds"], incident["state"]) == (["stalled"], "resolved")
    started, resolved = (datetime.fromisoformat(incident[name]) for name in ("started_at", "resolved_at"))
    assert 0 < (resolved - started).total_seconds() < 40
    said = [event["text"] for event in incident["timeline"]]
    assert any(text.startswith("Restart of worker completed: Docker restarted worker") for text in said)


def test_incident_has_docker_and_probe_evidence(hung: Story) -> None:
    shown = hung.seen["incidents"][0]["evidence"]["runner"]
    assert (shown["Status"], shown["RestartCount"]) == ("running", 0)
    assert shown["probe"].startswith("log /")
    assert shown["probe_still_for"] >= 3


def test_labelled_container_uses_its_agent_name(hung: Story) -> None:
    assert hung.seen["helper"]["status"] == "ok"
    assert "docker:helper was selected by docker:label:watched=yes" in hung.seen["runner"]


def test_container_output_is_progress(hung: Story) -> None:
    assert hung.seen["helper"]["last_progress_at"]


def test_requested_stop_holds_without_alarm(hung: Story) -> None:
    assert hung.seen["stopped"] == ("exited", "stopped", 1)
