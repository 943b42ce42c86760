"""A program on PATH with scripted answers that records its calls."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

SCRIPT = """#!/bin/sh
echo "$*" >> "$0.calls"
for last in "$@"; do :; done
for verb in "$@"; do case $verb in -*) ;; *) break ;; esac; done
answer="$0.$verb"
[ -e "$answer@$(echo "$last" | tr / _)" ] && answer="$answer@$(echo "$last" | tr / _)"
[ -e "$answer" ] || exit 0
. "$answer"
"""


class Scripted:
    """`calls` are the argument lists so far, one line each."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / name
        self.path.write_text(SCRIPT)
        self.path.chmod(0o755)

    def on_path(self, monkeypatch: pytest.MonkeyPatch) -> Scripted:
        monkeypatch.setenv("PATH", f"{self.path.parent}:{os.environ['PATH']}")
        return self

    def answers(
        self, verb: str, output: str = "", *, of: str = "", error: str = "", code: int = 0, sleep: float = 0
    ) -> None:
        """Set the answer to `verb` (for one target). The verb is the first word that is not an option, the target the
        last.
        """
        name = f"{self.path.name}.{verb}" + (f"@{of.replace('/', '_')}" if of else "")
        lines = [f"sleep {sleep}"] if sleep else []
        lines += [f"printf %s {shlex.quote(output)}", f"printf %s {shlex.quote(error)} >&2", f"exit {code}"]
        beside = self.path.with_name(name + ".new")
        beside.write_text("\n".join(lines))
        beside.replace(self.path.with_name(name))

    @property
    def calls(self) -> list[str]:
        calls = self.path.with_name(self.path.name + ".calls")
        return calls.read_text().splitlines() if calls.exists() else []

    def called(self, verb: str) -> list[str]:
        return [call for call in self.calls if verb in call.split()]


def shown(active: str = "active", **properties: object) -> str:
    """Return the output of `systemctl show`."""
    sub = {"active": "running", "inactive": "dead", "failed": "failed"}.get(active, "start")
    found = {"LoadState": "loaded", "ActiveState": active, "SubState": sub, "Result": "success", "NRestarts": 0}
    return "".join(f"{name}={value}\n" for name, value in {**found, **properties}.items())
