"""`install`: a service of this machine that starts the runner at boot, by systemd or launchd.

The key goes into a file of mode 0600 that the service reads; it stands in no unit, no plist and no command line.
"""

from __future__ import annotations

import argparse
import os
import plistlib
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .config import Settings
from .errors import Wrong
from .program import run
from .terminal import say

LABEL = "com.clevagent.runner"
SERVICE = "clevagent-runner"
# systemctl waits until the runner says that it is ready, which is after its first look at every target.
ENABLE_WITHIN = 120.0
NETWORK = "Wants=network-online.target\nAfter=network-online.target\n"
# A user's service keeps its state where the user's own commands look for it, which systemd's folder is not.
STATE = "StateDirectory=clevagent\nStateDirectoryMode=0700\n"
# What of a name may stand in a file's name.
OTHER = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True)
class File:
    """A file to write. What is `secret` is not shown."""

    path: Path
    text: str
    mode: int = 0o644
    secret: bool = False

    @property
    def shown(self) -> str:
        return "(the key)" if self.secret else self.text


@dataclass(frozen=True)
class Plan:
    """What installing does: the files, then the programs in order; one that is `optional` may fail."""

    files: tuple[File, ...]
    programs: tuple[tuple[str, ...], ...]
    optional: tuple[tuple[str, ...], ...] = ()
    after: str = ""


def install(settings: Settings, given: argparse.Namespace) -> int:
    """Carry out the plan for this machine, or only say it. 0 when the service runs. Raises Wrong."""
    command = _command(settings, given)
    plan = _launchd(settings, given, command) if sys.platform == "darwin" else _systemd(settings, given, command)
    if given.dry_run:
        say(described(plan))
        return 0
    _require_allowed(given.user)
    for file in plan.files:
        _write(file)
        say(f"wrote {file.path}")
    for program in plan.programs:
        _run(program, needed=program not in plan.optional)
    say(plan.after)
    return 0


def described(plan: Plan) -> str:
    """The plan in words, without the key."""
    files = [f"# {file.path} (mode {file.mode:04o})\n{file.shown}" for file in plan.files]
    return "\n".join([*files, *("$ " + " ".join(program) for program in plan.programs)])


def _command(settings: Settings, given: argparse.Namespace) -> list[str]:
    """The service's command line: everything that was given, but for the key."""
    words = [sys.executable, "-m", "clevagent.runner", "start"]
    for text in given.watch:
        words += ["--watch", text]
    if given.config:
        words += ["--config", str(Path(given.config).resolve())]
    words += ["--endpoint", settings.endpoint, "--heartbeat-interval", f"{settings.interval:g}"]
    words += ["--log-level", settings.log_level]
    words += ["--name", given.name] if given.name else []
    words += ["--state", str(Path(given.state).resolve())] if given.state else []
    return words + (["--restart-on-down"] if given.restart_on_down else [])


def _systemd(settings: Settings, given: argparse.Namespace, command: Sequence[str]) -> Plan:
    name = _named(SERVICE, given.name, "-")
    unit = f"{name}.service"
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    folder = home / "systemd/user" if given.user else Path("/etc/systemd/system")
    key = (home if given.user else Path("/etc")) / "clevagent" / f"{name}.env"
    manager = ("systemctl", "--user") if given.user else ("systemctl",)
    journal = "journalctl --user" if given.user else "journalctl"
    return Plan(
        (
            File(key, f"CLEVAGENT_API_KEY={settings.api_key}\n", 0o600, secret=True),
            File(folder / unit, _unit(command, key, user=given.user)),
        ),
        (
            (*manager, "daemon-reload"),
            (*manager, "enable", f"{name}.service"),
            (*manager, "restart", f"{name}.service"),
        ),
        after=f"{name} runs; its log: {journal} -u {name}" + (_linger() if given.user else ""),
    )


def _unit(command: Sequence[str], key: Path, *, user: bool) -> str:
    return f"""[Unit]
Description=ClevAgent runner
Documentation=man:systemd.service(5)
{"" if user else NETWORK}StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={" ".join(map(quoted, command))}
EnvironmentFile={key}
{"" if user else STATE}TimeoutStartSec=5min
Restart=always
RestartSec=5
WatchdogSec=60
# What the runner started itself goes on while the runner is restarted.
KillMode=process

[Install]
WantedBy={"default.target" if user else "multi-user.target"}
"""


def quoted(word: str) -> str:
    """One argument as systemd reads it: `%` and `$` stand for themselves."""
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{plain}"' if re.search(r"[\s\"';]", word) or not word else plain


def _launchd(settings: Settings, given: argparse.Namespace, command: Sequence[str]) -> Plan:
    label = _named(LABEL, given.name, ".")
    base = Path.home() if given.user else Path("/")
    folder = base / ("Library/LaunchAgents" if given.user else "Library/LaunchDaemons")
    support = base / "Library/Application Support/ClevAgent"
    log = base / "Library/Logs" / f"{label}.log"
    key, plist = support / f"{label}.key", folder / f"{label}.plist"
    domain = f"gui/{os.getuid()}" if given.user else "system"
    content = {
        "Label": label,
        "ProgramArguments": [*command, "--api-key-file", str(key)],
        "RunAtLoad": True,
        "KeepAlive": True,
        "StandardErrorPath": str(log),
        "AbandonProcessGroup": True,
    }
    unload = ("launchctl", "bootout", f"{domain}/{label}")
    return Plan(
        (
            File(key, settings.api_key + "\n", 0o600, secret=True),
            File(plist, plistlib.dumps(content).decode()),
        ),
        (unload, ("launchctl", "bootstrap", domain, str(plist))),
        optional=(unload,),
        after=f"{label} runs; its log: {log}",
    )


def _named(base: str, name: str | None, joint: str) -> str:
    return f"{base}{joint}{OTHER.sub('_', name)}" if name else base


def _linger() -> str:
    return "\nIt ends when you log out, unless: loginctl enable-linger"


def _require_allowed(user: bool) -> None:
    if not user and os.geteuid() != 0:
        raise Wrong("A service of the system is installed by root: use sudo, or --user for a service of this user")


def _write(file: File) -> None:
    """A secret is never readable for others, not even for a moment."""
    try:
        file.path.parent.mkdir(mode=0o700 if file.secret else 0o755, parents=True, exist_ok=True)
        beside = file.path.with_name(file.path.name + ".new")
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode), "w") as open_file:
            open_file.write(file.text)
        beside.replace(file.path)
    except OSError as error:
        raise Wrong(f"{file.path} cannot be written: {error.strerror}") from None


def _run(program: tuple[str, ...], *, needed: bool) -> None:
    if shutil.which(program[0]) is None:
        raise Wrong(f"{program[0]} is not installed, so the service cannot be enabled; its files are written")
    ran = run(program, ENABLE_WITHIN)
    if needed and not ran.ok:
        raise Wrong(f"{' '.join(program)}: {ran.why}")
