"""Every action written to the audit log has a phrase there; actions are read from the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from agents.models import Command
from teams.admin.audit import PHRASES

ROOT = Path(__file__).parents[2]
APPS = ("teams", "billing", "agents", "alerts", "watchdog_project")
NOUNS = {action.partition(".")[0] for action in PHRASES}
ACTION = re.compile(rf"({'|'.join(NOUNS)})\.[a-z_]+")


def written() -> Iterator[str]:
    """Every string in the code that is an action. Command steps are assembled from their parts."""
    for app in APPS:
        for path in (ROOT / app).rglob("*.py"):
            if "migrations" in path.relative_to(ROOT).parts or path.name == "audit.py":
                continue
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            for call in calls:
                if getattr(call.func, "attr", getattr(call.func, "id", "")) in (
                    "audit",
                    "_audit",
                    "_note",
                    "_record",
                    "record",
                    "_log",
                ):
                    yield from _texts(call)


def _texts(call: ast.Call) -> Iterator[str]:
    inner = [node.value for node in ast.walk(call) if isinstance(node, ast.Constant)]
    for text in inner:
        if isinstance(text, str) and ACTION.fullmatch(text):
            yield text


def test_every_audit_action_has_a_phrase() -> None:
    found = set(written())
    assert len(found) > 25
    assert found <= set(PHRASES)


def test_every_command_step_has_a_phrase() -> None:
    steps = re.findall(r'_record\(command, "(\w+)"', (ROOT / "agents/commands/dispatch.py").read_text())
    results = [state for state in Command.State.values if state in ("completed", "failed")]
    assert {f"command.{step}" for step in (*steps, *results)} <= set(PHRASES)
