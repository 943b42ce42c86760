"""A real systemd: a separate user manager with a separate journal."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.flows.installation import PATIENCE
from tests.services.namespaces import required, service

MANAGER, JOURNALD = "/lib/systemd/systemd", "/lib/systemd/systemd-journald"
# Makes systemd believe that it manages this machine, and hides the real one. The journal is in memory.
ALONE = """
mount -t tmpfs tmpfs /run/systemd
mkdir -p /run/systemd/system /run/systemd/journal /run/log
mount -t tmpfs tmpfs /run/log
if [ -d /var/log/journal ]; then mount -t tmpfs tmpfs /var/log/journal; fi
"""
# The journal's socket must exist before the manager starts.
JOURNAL = f"{JOURNALD} & until [ -S /run/systemd/journal/stdout ]; do sleep 0.02; done"


@dataclass(frozen=True)
class UserManager:
    """`env` points `systemctl --user` to it."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        return surroundings(self.folder)

    def systemctl(self, *words: str) -> str:
        env = {**os.environ, **self.env}
        done = subprocess.run(
            ["systemctl", "--user", *words], env=env, capture_output=True, text=True, timeout=PATIENCE
        )
        return done.stdout.strip() or done.stderr.strip()

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", "--value", "-p", name, unit)

    @property
    def inside(self) -> list[str]:
        """The prefix of a command that must see what the units see, such as their journal."""
        return ["nsenter", "-t", (self.folder / "pid").read_text().strip(), "-m"]

    def journal(self, *words: str) -> list[str]:
        """The matching messages, oldest first."""
        argv = [*self.inside, "journalctl", "--no-pager", "-q", "-o", "cat", *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout.splitlines()

    def add(self, unit: str, **service: str) -> None:
        """Create a service with these directives without starting it. `Unit_…` goes into [Unit]."""
        about = {name[5:]: value for name, value in service.items() if name.startswith("Unit_")}
        runs = {name: value for name, value in service.items() if not name.startswith("Unit_")}
        lines = ["[Unit]", *_lines(about), "[Service]", *_lines(runs), ""]
        (units(self.folder) / unit).write_text("\n".join(lines))
        self.systemctl("daemon-reload")

    def start(self, unit: str, **service: str) -> None:
        self.add(unit, **service)
        said = self.systemctl("start", unit)
        assert not said, said

    def remove(self, unit: str) -> None:
        """Stop and delete a unit."""
        self.systemctl("stop", unit)
        (units(self.folder) / unit).unlink(missing_ok=True)
        self.systemctl("reset-failed", unit)
        self.systemctl("daemon-reload")


def _lines(directives: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in directives.items()]


def units(folder: Path) -> Path:
    return folder / "config/systemd/user"


def surroundings(folder: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": f"{folder}/run", "XDG_CONFIG_HOME": f"{folder}/config"}


def _script(folder: Path) -> str:
    units(folder).mkdir(parents=True)
    (folder / "run").mkdir(mode=0o700)
    set_ = " ".join(f"{name}={value}" for name, value in surroundings(folder).items())
    paths = f"SYSTEMD_UNIT_PATH={units(folder)}:/usr/lib/systemd/user SYSTEMD_LOG_TARGET=journal"
    manager = f"exec env {set_} {paths} {MANAGER} --user --unit=basic.target"
    return f"{ALONE}\n{JOURNAL}\necho $$ > {folder}/pid\n{manager}"


@contextmanager
def user_manager() -> Iterator[UserManager]:
    required("systemctl", "journalctl", "nsenter", MANAGER, JOURNALD)
    with service(
        "systemd", _script, lambda folder: UserManager(folder).systemctl("is-active", "basic.target") == "active"
    ) as folder:
        yield UserManager(folder)
