"""Follows docs/run-with-launchd.md with a fake launchd. Not run on macOS.

Only the runner's `install` believes that this machine is a Mac. Its state is in a separate folder, because readers who
are root share one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import launchd
from tests.services.guides import Guide, followed
from tests.services.site import Site

pytestmark = [pytest.mark.live, pytest.mark.sqlite, pytest.mark.xdist_group("guide_launchd")]
A_MAC = """
import sys

if {"install", "--user"} <= set(sys.orig_argv) and "clevagent-runner" in " ".join(sys.orig_argv):
    sys.platform = "darwin"
"""


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Guide, Site]]:
    folder = tmp_path_factory.mktemp("guide")
    (folder / "mac").mkdir()
    (folder / "mac/sitecustomize.py").write_text(A_MAC)
    with launchd.session(folder / "session") as launchctl:
        path = f"{launchctl.parent}:{Path(sys.executable).parent}:/usr/bin:/bin"
        env = {"PATH": path, "PYTHONPATH": str(folder / "mac"), "STATE_DIRECTORY": str(folder / "state")}
        with followed("run-with-launchd.md", folder, {}, **env) as (page, here):
            yield page, here


def test_every_step_shows_what_the_page_says(after: tuple[Guide, Site]) -> None:
    assert after[0].left == {}


def test_hang_is_one_resolved_incident(after: tuple[Guide, Site]) -> None:
    (incident,) = after[1].incidents("research-agent")
    assert (incident["kinds"], incident["state"]) == (["stalled"], "resolved")


def test_key_is_readable_only_by_its_owner(after: tuple[Guide, Site]) -> None:
    page, here = after
    home = here.folder / "home"
    files = [path for path in home.rglob("*") if path.is_file() and here.running.key.encode() in path.read_bytes()]
    assert {path.name for path in files} == {"agent.env", "com.clevagent.runner.key"}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert here.running.key not in page.seen
