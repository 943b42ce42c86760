"""`install`: set up a service that starts the runner at boot, under systemd or launchd.

The service reads the key from a file with mode 0600. It appears in no unit, plist or command line.
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
from .errors import ConfigError
from .program import run
from .terminal import say

LABEL = "com.clevagent.runner"
SERVICE = "clevagent-runner"
# Seconds. systemctl waits for the runner's READY=1, sent after the first check of every target.
ENABLE_TIMEOUT = 120.0
NETWORK = "Wants=network-online.target\nAfter=network-online.target\n"
# Not for user services: their state must be where the user's own commands look for it.
STATE = "StateDirectory=clevagent\nStateDirectoryMode=0700\n"
# Characters not allowed in a file name.
OTHER = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True)
class File:
    """A file to write. Dry runs do not print `secret` files."""

    path: Path
    text: str
    mode: int = 0o644
    secret: bool = False

    @property
    def shown(self) -> str:
        return "(the key)" if self.secret else self.text


@dataclass(frozen=True)
class Plan:
    """The files to write and the programs to run, in order. `optional` programs may fail."""

    files: tuple[File, ...]
    programs: tuple[tuple[str, ...], ...]
    optional: tuple[tuple[str, ...], ...] = ()
    after: str = ""


def install(settings: Settings, options: argparse.Namespace) -> int:
    """Carry out the plan for this machine, or print it. Return 0 once the service runs. Raises ConfigError."""
    command = _command(settings, options)
    plan = _launchd(settings, options, command) if sys.platform == "darwin" else _systemd(settings, options, command)
    if options.dry_run:
        say(described(plan))
        return 0
    _require_allowed(options.user)
    for file in plan.files:
        _write(file)
        say(f"wrote {file.path}")
    for program in plan.programs:
        _run(program, needed=program not in plan.optional)
    say(plan.after)
    return 0


def described(plan: Plan) -> str:
    """Return the plan as text, without the key."""
    files = [f"# {file.path} (mode {file.mode:04o})\n{file.shown}" for file in plan.files]
    return "\n".join([*files, *("$ " + " ".join(program) for program in plan.programs)])


def _command(settings: Settings, options: argparse.Namespace) -> list[str]:
    """Build the service's command line from all given options except the key."""
    words = [sys.executable, "-m", "clevagent.runner", "start"]
    for text in options.watch:
        words += ["--watch", text]
    if options.config:
        words += ["--config", str(Path(options.config).resolve())]
    words += ["--endpoint", settings.endpoint, "--heartbeat-interval", f"{settings.interval:g}"]
    words += ["--log-level", settings.log_level]
    words += ["--name", options.name] if options.name else []
    words += ["--state", str(Path(options.state).resolve())] if options.state else []
    return words + (["--restart-on-down"] if options.restart_on_down else [])


def _systemd(settings: Settings, options: argparse.Namespace, command: Sequence[str]) -> Plan:
    name = _named(SERVICE, options.name, "-")
    unit = f"{name}.service"
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    folder = home / "systemd/user" if options.user else Path("/etc/systemd/system")
    key = (home if options.user else Path("/etc")) / "clevagent" / f"{name}.env"
    manager = ("systemctl", "--user") if options.user else ("systemctl",)
    journal = "journalctl --user" if options.user else "journalctl"
    return Plan(
        (
            File(key, f"CLEVAGENT_API_KEY={settings.api_key}\n", 0o600, secret=True),
            File(folder / unit, _unit(command, key, user=options.user)),
        ),
        (
            (*manager, "daemon-reload"),
            (*manager, "enable", f"{name}.service"),
            (*manager, "restart", f"{name}.service"),
        ),
        after=f"{name} is running; log: {journal} -u {name}" + (_linger() if options.user else ""),
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
# Processes that the runner started keep running while it restarts.
KillMode=process

[Install]
WantedBy={"default.target" if user else "multi-user.target"}
"""


def quoted(word: str) -> str:
    """Quote an argument for systemd, with `%` and `$` taken literally."""
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{plain}"' if re.search(r"[\s\"';]", word) or not word else plain


def _launchd(settings: Settings, options: argparse.Namespace, command: Sequence[str]) -> Plan:
    label = _named(LABEL, options.name, ".")
    base = Path.home() if options.user else Path("/")
    folder = base / ("Library/LaunchAgents" if options.user else "Library/LaunchDaemons")
    support = base / "Library/Application Support/ClevAgent"
    log = base / "Library/Logs" / f"{label}.log"
    key, plist = support / f"{label}.key", folder / f"{label}.plist"
    domain = f"gui/{os.getuid()}" if options.user else "system"
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
        after=f"{label} is running; log: {log}",
    )


def _named(base: str, name: str | None, joint: str) -> str:
    return f"{base}{joint}{OTHER.sub('_', name)}" if name else base


def _linger() -> str:
    return "\nIt stops when you log out, unless you run: loginctl enable-linger"


def _require_allowed(user: bool) -> None:
    if not user and os.geteuid() != 0:
        raise ConfigError("Installing a system service requires root: use sudo, or --user for a user service")


def _write(file: File) -> None:
    """Write a file. A secret is never readable by others, not even briefly."""
    try:
        file.path.parent.mkdir(mode=0o700 if file.secret else 0o755, parents=True, exist_ok=True)
        beside = file.path.with_name(file.path.name + ".new")
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode), "w") as open_file:
            open_file.write(file.text)
        beside.replace(file.path)
    except OSError as error:
        raise ConfigError(f"{file.path} cannot be written: {error.strerror}") from None


def _run(program: tuple[str, ...], *, needed: bool) -> None:
    if shutil.which(program[0]) is None:
        raise ConfigError(f"{program[0]} is not installed, so the service was not enabled; its files are written")
    ran = run(program, ENABLE_TIMEOUT)
    if needed and not ran.ok:
        raise ConfigError(f"{' '.join(program)}: {ran.why}")
