"""Hooks of Codex CLI, sent with curl; their names are those of Claude Code. Pure."""

from __future__ import annotations

from typing import Final

from agents.doors.facts import Fact
from agents.doors.hooks import claude_code, events
from agents.doors.hooks.events import Event

KIND: Final = "codex"
NAME: Final = "Codex"
ASKS: Final = claude_code.ASKS
HEARS: Final = claude_code.HEARS

name_of = events.name_of
tool_of = events.called


def facts(event: Event, agent: str, at: int) -> list[Fact]:
    found = claude_code.facts(event, agent, at)
    here = events.origin(event, KIND, agent, at)
    for fact in found:
        fact.origin.kind, fact.origin.resource = KIND, here.resource
    if events.name_of(event) == "PostToolUse":
        # It comes for failures, too, and does not tell them apart.
        return [events.ends(event, here, ok=None, result=event.get("tool_response"))]
    return found
