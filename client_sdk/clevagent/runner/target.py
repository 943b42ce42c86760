"""A watched target: `TYPE:TARGET[=AGENT]` on the command line, or a table in the TOML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clevagent.names import MAX_LENGTH, agent_name

from .errors import ConfigError

# The server keeps at most this much of a target's name.
MAX_NAME_LENGTH = 300
# Line breaks and other control characters, and halves of characters.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# The kind of target whose name can be a command line.
COMMANDS = "process"
# The published runner shortens `com.example.crypto.bot` to `crypto.bot` but keeps `research-agent.service`.
DOTS_KEPT = 1
# Prefix of a selection of several targets, which name their own agents; a `=` belongs to the label.
SELECTION = "label:"


@dataclass(frozen=True)
class Target:
    """`type` and `name` are reported to the server as restart type and target; `agent` is the agent's name.

    The other fields come from the TOML file. `progress_timeout` is in seconds; `options` are specific to one backend,
    such as the command of a process.
    """

    type: str
    name: str
    agent: str
    labels: Mapping[str, str] = field(default_factory=dict)
    restart_on_down: bool = False
    send_log: bool = True
    progress_timeout: float | None = None
    probe: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """How commands refer to it."""
        return self.type, self.name

    def __str__(self) -> str:
        return f"{self.type}:{self.name}"


def parse(text: str) -> Target:
    """Parse `TYPE:TARGET[=AGENT]`. The agent's name follows the last `=` that is not an argument of a command.

    Raises ConfigError. `backends.of` checks whether TYPE is known.
    """
    kind, colon, rest = text.partition(":")
    if not colon or not kind.strip():
        raise ConfigError(f"--watch {text}: write TYPE:TARGET, for example systemd:research-agent.service")
    name, equals, agent = _split(kind.strip(), rest)
    if equals and not agent.strip():
        raise ConfigError(f"--watch {text}: the agent name after = is empty; write {kind}:{name}=NAME or remove the =")
    return make_target(kind.strip(), name.strip(), agent.strip() or None)


def _split(kind: str, rest: str) -> tuple[str, str, str]:
    """Return target, "=" and agent; without an agent, the last two are empty."""
    if "=" not in rest or rest.startswith(SELECTION) or (kind == COMMANDS and _ends_with_argument(rest)):
        return rest, "", ""
    return rest.rpartition("=")


def _ends_with_argument(command: str) -> bool:
    """Whether the last `=` belongs to the command line: `agent.py --mode=fast`, `train.py model=gpt rate=0.1`."""
    *before, last = command.split() or [""]
    is_argument = last.startswith("-") or any("=" in word for word in before)
    return bool(before) and last.count("=") == 1 and is_argument


def make_target(kind: str, name: str, agent: str | None = None, **settings: Any) -> Target:
    """Return a target with valid names; `agent` defaults to the target's name. Raises ConfigError."""
    if not name:
        raise ConfigError(f"{kind}: the target is empty; write {kind}:NAME")
    if len(name) > MAX_NAME_LENGTH or CONTROL.search(name):
        raise ConfigError(f"{kind}:{name!r}: a target must have at most {MAX_NAME_LENGTH} printable characters")
    wanted = agent or agent_of(name)
    if len(wanted) > MAX_LENGTH or CONTROL.search(wanted) or not agent_name(wanted):
        raise ConfigError(f"{kind}:{name}: an agent name has 1 to {MAX_LENGTH} printable characters; add =NAME")
    return Target(kind, name, agent_name(wanted), **settings)


def agent_of(name: str) -> str:
    """Return the default agent name: the target without its path; of three or more dotted parts, the last two.

    Instances of a template, such as `agent@eu.west.service`, keep their whole name, or they would share one.
    """
    last = name.rstrip("/").rpartition("/")[2] or name
    if "@" in last:
        return last
    return ".".join(last.split(".")[-DOTS_KEPT - 1 :]) if last.count(".") > DOTS_KEPT else last
