"""Hooks of Gemini CLI, sent with curl. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agents.doors.dialects.reading import text
from agents.doors.facts import Fact
from agents.doors.hooks import events
from agents.doors.hooks.events import Event

KIND: Final = "gemini-cli"
NAME: Final = "Gemini CLI"
# A turn can be refused before the model is called, so a turn without tools is stopped, too.
ASKS: Final = {"BeforeTool", "BeforeAgent", "BeforeModel"}
HEARS: Final = {"AfterTool"}

name_of = events.name_of
tool_of = events.called


def facts(event: Event, agent: str, at: int) -> list[Fact]:
    here = events.origin(event, KIND, agent, at)
    match events.name_of(event):
        case "SessionStart" | "AfterAgent":
            return [events.waiting(here, events.NEXT_PROMPT)]
        case "BeforeAgent":
            return [events.step(here, "prompt", is_open=True)]
        case "BeforeTool":
            return [events.begins(event, here)]
        case "AfterTool":
            result = _result(event.get("tool_response"))
            return [events.ends(event, here, ok="error" not in result, result=result.get("llmContent", result))]
        case "BeforeModel" | "AfterModel" | "PreCompress":
            return [events.step(here, "step", is_open=True)]
        case "Notification" if text(event, "notification_type") == "ToolPermission":
            return [events.waiting(here, events.APPROVAL)]
        case "SessionEnd":
            return [events.step(here, "end")]
        case _:
            return []


def _result(value: Any) -> Mapping[str, Any]:
    known = value if isinstance(value, Mapping) else {"llmContent": value}
    return {key: each for key, each in known.items() if each is not None}
