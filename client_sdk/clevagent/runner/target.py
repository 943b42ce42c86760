"""What is watched: `TYPE:TARGET[=AGENT]` on the command line, or a table of the TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import Wrong

# The server keeps names up to these lengths and refuses longer ones.
MAX_AGENT_LENGTH = 200
MAX_NAME_LENGTH = 300
# The published runner shortens `com.example.crypto.bot` to `crypto.bot`, and leaves `research-agent.service` alone.
DOTS_KEPT = 1
# What begins so selects several targets, which name their agents themselves; its `=` belongs to the label.
SELECTION = "label:"


@dataclass(frozen=True)
class Target:
    """One thing to watch. `type` and `name` are what the server is told; `agent` is the agent's name there.

    `labels`, `restart_on_down`, `progress_timeout` (seconds), `probe` and `options` come from the TOML file;
    `options` is for what only one backend understands, such as the command of a process.
    """

    type: str
    name: str
    agent: str
    labels: Mapping[str, str] = field(default_factory=dict)
    restart_on_down: bool = False
    progress_timeout: float | None = None
    probe: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """What commands name it by."""
        return self.type, self.name

    def __str__(self) -> str:
        return f"{self.type}:{self.name}"


def parse(text: str) -> Target:
    """A target from `TYPE:TARGET[=AGENT]`. The agent's name is what follows the last `=`.

    Raises Wrong, saying what to write instead. Whether TYPE is known is for `backends.of` to say.
    """
    kind, colon, rest = text.partition(":")
    if not colon or not kind.strip():
        raise Wrong(f"--watch {text}: write TYPE:TARGET, for example systemd:research-agent.service")
    name, equals, agent = (rest, "", "") if "=" not in rest or rest.startswith(SELECTION) else rest.rpartition("=")
    if equals and not agent.strip():
        raise Wrong(f"--watch {text}: the agent's name after = is empty; write {kind}:{name}=NAME, or leave out the =")
    return made(kind.strip(), name.strip(), agent.strip() or None)


def made(kind: str, name: str, agent: str | None = None, **settings: Any) -> Target:
    """A target whose names have been checked; without `agent` it is named after the target. Raises Wrong."""
    if not name:
        raise Wrong(f"{kind}: the target is empty; write {kind}:NAME")
    if len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise Wrong(f"{kind}:{name!r}: a target has at most {MAX_NAME_LENGTH} printable characters")
    agent = agent or agent_of(name)
    if len(agent) > MAX_AGENT_LENGTH or not agent.isprintable():
        raise Wrong(f"{kind}:{name}: an agent's name has 1 to {MAX_AGENT_LENGTH} printable characters; add =NAME")
    return Target(kind, name, agent, **settings)


def agent_of(name: str) -> str:
    """The agent's name where none is given: the target without its path; with two dots or more, its last two parts."""
    last = name.rstrip("/").rpartition("/")[2] or name
    return ".".join(last.split(".")[-DOTS_KEPT - 1 :]) if last.count(".") > DOTS_KEPT else last
