"""A real systemd: a user manager of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services.namespaces import required, service

MANAGER = "/lib/systemd/systemd"
# So that it believes to be on a machine with systemd, and finds nothing of the real one.
ALONE = "mount -t tmpfs tmpfs /run/systemd && mkdir -p /run/systemd/system"


@dataclass(frozen=True)
class UserManager:
    """`env` makes `systemctl --user` speak to it."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        return surroundings(self.folder)

    def systemctl(self, *words: str) -> str:
        env = {**os.environ, **self.env}
        done = subprocess.run(["systemctl", "--user", *words], env=env, capture_output=True, text=True, timeout=20)
        return done.stdout.strip() or done.stderr.strip()

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.systemctl("show", "--value", "-p", name, unit)

    def add(self, unit: str, **service: str) -> None:
        """Make a service with these directives, without starting it. `Unit_…` goes into [Unit]."""
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
        """Stop it and forget it."""
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
    paths = f"SYSTEMD_UNIT_PATH={units(folder)}:/usr/lib/systemd/user SYSTEMD_LOG_TARGET=console"
    return f"{ALONE}\nexec env {set_} {paths} {MANAGER} --user --unit=basic.target"


@contextmanager
def user_manager() -> Iterator[UserManager]:
    required("systemctl", MANAGER)
    with service(
        "systemd", _script, lambda folder: UserManager(folder).systemctl("is-active", "basic.target") == "active"
    ) as folder:
        yield UserManager(folder)
