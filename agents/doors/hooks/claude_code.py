"""Hooks of Claude Code: https://docs.claude.com/en/docs/claude-code/hooks. Pure."""

from __future__ import annotations

from typing import Final

from agents.doors.dialects.reading import text
from agents.doors.facts import Fact, Origin
from agents.doors.hooks import events
from agents.doors.hooks.events import Event

KIND: Final = "claude-code"
NAME: Final = "Claude Code"
# Events, and kinds of notifications, after which it waits for a person.
WAITS: Final = {
    "SessionStart": events.NEXT_PROMPT,
    "Stop": events.NEXT_PROMPT,
    "PermissionRequest": events.APPROVAL,
    "permission_prompt": events.APPROVAL,
    "idle_prompt": events.NEXT_PROMPT,
    "elicitation_dialog": "an answer",
}
# Before these the agent can be stopped.
ASKS: Final = {"PreToolUse", "UserPromptSubmit"}
# With these the model can be told something before it decides on its next call.
HEARS: Final = {"PostToolUse", "UserPromptSubmit"}

name_of = events.name_of
tool_of = events.called


def facts(event: Event, agent: str, at: int) -> list[Fact]:
    here = events.origin(event, KIND, agent, at)
    match events.name_of(event):
        case "UserPromptSubmit":
            return [events.step(here, "prompt", is_open=True)]
        case "PreToolUse":
            return [events.begins(event, here)]
        case "PostToolUse":
            return [events.ends(event, here, ok=True, result=event.get("tool_response"))]
        case "PostToolUseFailure":
            return [events.ends(event, here, ok=False, result=event.get("error"))]
        case "StopFailure":
            message = f"The turn failed: {text(event, 'error') or 'API error'}"
            return [events.step(here, "run", failed=True, message=message)]
        case "SubagentStart" | "SubagentStop" | "PreCompact" | "PostCompact" | "PostToolBatch":
            return _within(event, here)
        case "SessionEnd":
            return [events.step(here, "end")]
        case name:
            return _waits(event, here, name)


def _within(event: Event, here: Origin) -> list[Fact]:
    """A step of the turn, or of a compaction, which a person may ask for while the agent is idle."""
    name = events.name_of(event)
    if name == "SubagentStop" and not text(event, "agent_type"):
        # A part of the compaction.
        return []
    if name == "PostCompact" and text(event, "trigger") == "manual":
        return [events.waiting(here, events.NEXT_PROMPT)]
    return [events.step(here, "step", is_open=True)]


def _waits(event: Event, here: Origin, name: str) -> list[Fact]:
    """An event after which nothing is due before a person acts."""
    if name == "SessionStart" and text(event, "source") == "compact":
        # The turn goes on after it, if one is under way.
        return []
    what = WAITS.get(text(event, "notification_type") if name == "Notification" else name)
    return [events.waiting(here, what)] if what else []
