"""Follows docs/run-in-docker-compose.md on a real Docker Engine.

The reader sees the engine's socket at its usual path. The page's base image is built here. If Docker has no `compose`
plugin, Debian's `docker-compose` replaces it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.services import python_image
from tests.services.docker import Engine
from tests.services.guides import Guide, followed
from tests.services.namespaces import required
from tests.services.site import Site

pytestmark = [pytest.mark.live, pytest.mark.sqlite, pytest.mark.xdist_group("docker")]
FASTER = {"interval: 30s": "interval: 1s", "start_period: 30s": "start_period: 1s", "< 120": "< 3"}
PROJECT = "label=com.docker.compose.project=research-agent"
COMPOSE = '#!/bin/sh\n[ "$1" = compose ] || exec {docker} "$@"\nshift\nexec docker-compose "$@"\n'


@contextmanager
def world(docker: Engine, programs: Path) -> Iterator[tuple[list[str], dict[str, str]]]:
    """The prefix and environment of the reader's shell: the engine is at its usual socket."""
    inside = ["nsenter", "-t", (docker.folder / "d.pid").read_text(), "-m"]
    usual = f"mount -t tmpfs tmpfs /run && ln -s {docker.socket} /run/docker.sock"
    with_compose(programs)
    subprocess.run([*inside, "sh", "-ec", usual], check=True)
    path = f"{programs}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    try:
        yield inside, {"PATH": path, "DOCKER_CONFIG": str(docker.folder)}
    finally:
        for name in docker.docker("ps", "-a", "--format", "{{.Names}}", "--filter", PROJECT).split():
            docker.remove(name)
        subprocess.run([*inside, "umount", "-l", "/run"], check=True)


def with_compose(programs: Path) -> None:
    """Create a `docker` in this folder that supports `compose`."""
    real = shutil.which("docker")
    program = programs / "docker"
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        program.symlink_to(str(real))
        return
    required("docker-compose")
    program.write_text(COMPOSE.format(docker=real))
    program.chmod(0o755)


@pytest.fixture(scope="module")
def after(docker: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Guide, Site]]:
    folder, programs = tmp_path_factory.mktemp("guide"), tmp_path_factory.mktemp("programs")
    with world(docker, programs) as (inside, env):
        python_image.provide(docker)
        with followed("run-in-docker-compose.md", folder, FASTER, *inside, **env) as (page, here):
            yield page, here


def test_every_step_shows_what_the_page_says(after: tuple[Guide, Site]) -> None:
    assert after[0].left == {}


def test_hang_is_one_resolved_incident(after: tuple[Guide, Site]) -> None:
    (incident,) = after[1].incidents("research-agent")
    assert (incident["kinds"], incident["state"]) == (["stalled"], "resolved")
