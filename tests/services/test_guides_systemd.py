"""Follows docs/run-with-systemd.md on a real systemd.

A user manager replaces the system manager: `systemctl` always uses it, with or without `--user`, and the system's units
and state are in the user's folders. `sudo` only runs its command, since the reader is root here. The reader and the
units see separate /etc, /opt and home folders, so nothing on this machine changes.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.services.guides import Guide, followed
from tests.services.site import Site
from tests.services.systemd import UserManager, units

pytestmark = [pytest.mark.live, pytest.mark.sqlite, pytest.mark.xdist_group("systemd")]
PROGRAMS = {
    "sudo": 'exec env "$@"',
    "systemctl": 'exec /usr/bin/systemctl --user "$@"',
    # One journal holds the messages of the system and of users.
    "journalctl": 'for w; do shift; [ "$w" = --user ] || set -- "$@" "$w"; done; exec /usr/bin/journalctl "$@"',
    "loginctl": '[ "$*" = enable-linger ]',
}
# Python stays where it is, even below the home folder, which then must be readable by everybody.
WORLD = """
mount -t tmpfs -o mode=755 tmpfs /opt
mkdir /opt/python /opt/etc
mount --bind {python} /opt/python
cp -a /etc/. /opt/etc
mount --bind /opt/etc /etc
mkdir -p /etc/systemd/system
mount --bind {units} /etc/systemd/system
mount -t tmpfs -o mode=755 tmpfs {home}
[ -e {python} ] || {{ mkdir -p {python}; mount --bind /opt/python {python}; }}
umount /opt/python
ln -s {config} {home}/.config
"""
# The manager's socket is below /tmp here, but an agent with its own user has a private /tmp.
SOCKET = "[Service]\nBindPaths={run}\n"
BACK = "umount -lR {home} /etc /opt"
FASTER = {"RestartSec=5": "RestartSec=0.2", "WatchdogSec=2min": "WatchdogSec=3"}
UNITS = ("research-agent.service", "notes-agent.service", "clevagent-runner.service")


@contextmanager
def world(manager: UserManager) -> Iterator[dict[str, str]]:
    """The environment of the reader's shell, on a machine that seems to be the reader's own."""
    home, programs = str(Path.home()), manager.folder / "programs"
    places = {
        "python": sys.base_prefix,
        "units": units(manager.folder),
        "config": manager.folder / "config",
        "home": home,
    }
    # As with the system manager, an agent of another user can report that it is ready.
    for path, mode in (("", 0o711), ("run", 0o711), ("run/systemd/notify", 0o777)):
        (manager.folder / path).chmod(mode)
    programs.mkdir()
    dropped = units(manager.folder) / "research-agent.service.d/socket.conf"
    dropped.parent.mkdir()
    dropped.write_text(SOCKET.format(run=manager.folder / "run"))
    for name, script in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    path = f"{programs}:{sys.base_prefix}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    env = {"PATH": path, "STATE_DIRECTORY": f"{manager.folder}/config/clevagent"}
    inside(manager, WORLD.format(**places))
    manager.systemctl("set-environment", *(f"{name}={value}" for name, value in env.items()))
    try:
        yield {**env, **manager.env, "HOME": home}
    finally:
        manager.systemctl("unset-environment", *env)
        for unit in UNITS:
            manager.systemctl("disable", unit)
            manager.remove(unit)
        inside(manager, BACK.format(home=home))


def inside(manager: UserManager, script: str) -> str:
    done = subprocess.run([*manager.inside, "sh", "-ec", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def after(manager: UserManager, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Guide, Site]]:
    folder = tmp_path_factory.mktemp("guide")
    with (
        world(manager) as env,
        followed("run-with-systemd.md", folder, FASTER, *manager.inside, **env) as (page, here),
    ):
        yield page, here


def test_every_step_shows_what_the_page_says(after: tuple[Guide, Site]) -> None:
    assert after[0].left == {}


def test_hang_is_one_resolved_incident(after: tuple[Guide, Site]) -> None:
    (incident,) = after[1].incidents("research-agent")
    assert (incident["kinds"], incident["state"]) == (["stalled"], "resolved")


def test_key_is_readable_only_by_its_owner(after: tuple[Guide, Site], manager: UserManager) -> None:
    page, here = after
    script = f"grep -rlZ {here.running.key} /etc ~/.config/ ~/notes-agent | xargs -0 stat -c '%a %n'"
    found = inside(manager, script).splitlines()
    assert {line.split("/")[-1] for line in found} == {"agent.env", "clevagent-runner.env"}
    assert {line.split()[0] for line in found} == {"600"}
    assert here.running.key not in page.seen
