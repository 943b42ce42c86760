"""`status`: what the running runner last saw, from its state file."""

from __future__ import annotations

import time
from pathlib import Path

from . import budget, state
from .errors import ConfigError
from .terminal import say

UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def show(path: Path) -> int:
    """Print the state. Return 0 if a runner is running, else 1. Raises ConfigError if there is no state file."""
    if not path.exists():
        raise ConfigError(f"No runner has run with the state file {path}. Choose another with --state or --name")
    kept, now, runs = state.read(path, aside=False), time.time(), state.is_held(path)
    since = f", started {_ago(kept.started_at, now)}" if kept.started_at else ""
    running = f"running as process {kept.pid}{since}"
    say(f"runner: {running if runs else 'not running; it last saw'}")
    for name, memory in sorted(kept.targets.items()):
        say(_line(name, memory, now))
    for command in kept.commands.values():
        if not command.done:
            word = f"{command.status}, not yet reported" if command.status else "running"
            say(f"command {command.id}: {command.action} {command.type}:{command.target}: {word}")
    return 0 if runs else 1


def _line(name: str, memory: state.TargetRecord, now: float) -> str:
    parts = [f"{name} as {memory.agent}: {memory.state or 'not checked yet'}"]
    parts += [memory.why] if memory.why else []
    parts += [f"seen {_ago(memory.seen_at, now)}", f"reported {_ago(memory.told_at, now)}"]
    parts += [f"stopped by command {_ago(memory.held_at, now)}"] if memory.held_at else []
    made = len(budget.recent(memory.restarts, now))
    parts += [f"{made} restarts in 24 h"] if made else []
    parts += ["gave up restarting it"] if memory.gave_up else []
    return ", ".join(parts)


def _ago(then: float | None, now: float) -> str:
    if then is None:
        return "never"
    seconds = max(0, round(now - then))
    for size, unit in UNITS:
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
