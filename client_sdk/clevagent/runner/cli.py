"""`clevagent-runner`: the command line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clevagent.transport import exposure, parse_key
from clevagent.version import VERSION

from . import backends, check, config, install, journal, status, target
from .errors import ConfigError
from .supervise import Supervisor, open_store
from .terminal import print_error

WATCH = (
    "target to watch, repeatable: systemd:NAME.service, systemd:user/NAME.service, docker:NAME, launchd:LABEL, "
    "process:PIDFILE, k8s:NAMESPACE/deployment/NAME"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Exit code 0: success, 1: a problem was found, 2: invalid arguments or settings."""
    options = parser().parse_args(arguments)
    try:
        code: int = options.work(options)
    except ConfigError as wrong:
        print_error(str(wrong))
        return 2
    except KeyboardInterrupt:
        return 130
    return code


def parser() -> argparse.ArgumentParser:
    """Build the parser for all commands."""
    whole = argparse.ArgumentParser(
        prog="clevagent-runner", description="Watch agents from outside, and restart them on command."
    )
    whole.add_argument("--version", action="version", version=f"clevagent-runner {VERSION}")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND", help="see `COMMAND --help`")
    _command(commands, "start", _start, "watch until stopped", _watching, _dry)
    _command(commands, "check", _check, "check the server, key, clock, targets and permissions", _watching)
    _command(commands, "status", _status, "show what the running runner last saw", _keeping)
    _command(
        commands, "install", _install, "install a service that starts the runner at boot", _watching, _dry, _installing
    )
    return whole


def read_settings(options: argparse.Namespace) -> config.Settings:
    """Combine options, environment and file, in that order. Raises ConfigError."""
    file = config.read(Path(options.config)) if options.config else {}
    named = [target.parse(text) for text in options.watch]
    if options.restart_on_down:
        named = [replace(each, restart_on_down=True) for each in named]
    if not config.value(file, "send_log", bool, True):
        named = [replace(each, send_log=False) for each in named]
    name = options.name or config.value(file, "name", str, "")
    interval = options.heartbeat_interval
    if interval is None:
        interval = config.value(file, "interval", float, config.INTERVAL)
    endpoint = options.endpoint or os.environ.get("CLEVAGENT_ENDPOINT") or config.value(file, "endpoint", str, "")
    state = _state(options, file, name)
    backends.set_state_folder(state.parent)
    return config.Settings(
        targets=config.checked_targets([*named, *_from_file(file, options)]),
        api_key=_key(options, file),
        endpoint=config.checked_endpoint(endpoint or config.ENDPOINT),
        interval=config.checked_interval(interval),
        name=name or config.default_name(),
        state=str(state),
        log_level=config.checked_level(options.log_level or config.value(file, "log_level", str, "INFO")),
    )


def _state(options: argparse.Namespace, file: dict[str, Any], name: str) -> Path:
    given = options.state or config.value(file, "state", str, "")
    return Path(given).expanduser() if given else config.default_state(name)


def _from_file(file: dict[str, Any], options: argparse.Namespace) -> list[target.Target]:
    targets = config.read_targets(file)
    return [replace(each, restart_on_down=True) for each in targets] if options.restart_on_down else targets


def _key(options: argparse.Namespace, file: dict[str, Any]) -> str:
    try:
        return parse_key(_raw_key(options, file))
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _raw_key(options: argparse.Namespace, file: dict[str, Any]) -> str:
    if options.api_key:
        print_error(
            "every user of this machine can read a key on the command line; use CLEVAGENT_API_KEY or --api-key-file"
        )
        return str(options.api_key)
    path = options.api_key_file or os.environ.get("CLEVAGENT_API_KEY_FILE")
    if path:
        return config.read_key(Path(path).expanduser())
    key = os.environ.get("CLEVAGENT_API_KEY")
    if key:
        return key
    if file.get("api_key_file"):
        return config.read_key(Path(config.value(file, "api_key_file", str, "")).expanduser())
    raise ConfigError("The API key is missing: set CLEVAGENT_API_KEY or --api-key-file")


def _start(options: argparse.Namespace) -> int:
    settings = read_settings(options)
    journal.begin(settings.log_level, settings.api_key)
    if options.dry_run:
        return check.dry_run(settings)
    if exposed := exposure(settings.endpoint):
        print_error(exposed)
    supervisor = Supervisor(settings, open_store(settings))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.request_end())
    try:
        supervisor.begin()
        supervisor.wait()
    finally:
        supervisor.end()
        supervisor.store.close()
    return 0


def _check(options: argparse.Namespace) -> int:
    settings = read_settings(options)
    journal.begin("ERROR", settings.api_key)
    return check.check(settings)


def _status(options: argparse.Namespace) -> int:
    file = config.read(Path(options.config)) if options.config else {}
    name = options.name or config.value(file, "name", str, "")
    return status.show(_state(options, file, name))


def _install(options: argparse.Namespace) -> int:
    settings = read_settings(options)
    return install.install(settings, options)


def _command(commands: Any, name: str, work: Any, about: str, *options: Any) -> None:
    made = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
    made.set_defaults(work=work)
    for add in options:
        add(made)


def _keeping(made: argparse.ArgumentParser) -> None:
    made.add_argument("--config", metavar="FILE.toml", help="read settings and targets from this file")
    made.add_argument("--state", metavar="FILE", help="path of the state file")
    made.add_argument("--name", help="name of this runner, if a machine has several (default: the host's name)")


def _watching(made: argparse.ArgumentParser) -> None:
    made.add_argument("--watch", action="append", default=[], metavar="TYPE:TARGET[=AGENT]", help=WATCH)
    made.add_argument("--api-key", metavar="KEY", help="prefer CLEVAGENT_API_KEY or --api-key-file")
    made.add_argument("--api-key-file", metavar="FILE", help="file with mode 0600 that contains the key")
    made.add_argument("--endpoint", metavar="URL", help=f"default CLEVAGENT_ENDPOINT, then {config.ENDPOINT}")
    made.add_argument("--heartbeat-interval", type=float, metavar="SECONDS", help=f"default {config.INTERVAL:g}")
    made.add_argument("--log-level", metavar="LEVEL", help="default INFO")
    made.add_argument(
        "--restart-on-down", action="store_true", help="restart targets that are down, without waiting for a command"
    )
    _keeping(made)


def _dry(made: argparse.ArgumentParser) -> None:
    made.add_argument("--dry-run", action="store_true", help="show what would be done, without doing it")


def _installing(made: argparse.ArgumentParser) -> None:
    made.add_argument("--user", action="store_true", help="as a user service, without root")


if __name__ == "__main__":
    sys.exit(main())
