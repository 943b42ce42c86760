"""What a project's agents have counted, from the heartbeats that were stored."""

from __future__ import annotations

from typing import Any

from agents.models import Agent, AgentState, Heartbeat
from tests.agents.doors.captures import Truth


def counted(*, with_usd: bool = True) -> Truth:
    """As a Truth; every agent that exists counts."""
    contents: list[dict[str, Any]] = [each or {} for each in Heartbeat.objects.values_list("content", flat=True)]
    uses = [use for content in contents for use in content.get("usage") or ()]
    calls = [call for content in contents for call in content.get("calls") or ()]
    return Truth(
        sum(use.get("input_tokens", 0) for use in uses),
        sum(use.get("output_tokens", 0) for use in uses),
        sum(use.get("cache_read_tokens", 0) for use in uses),
        len(calls),
        sum(call.get("ok") is False for call in calls),
        round(sum(AgentState.objects.values_list("cost_total", flat=True)) / 1_000_000, 6) if with_usd else None,
        tuple(sorted(Agent.objects.values_list("name", flat=True))),
    )


def hot_tokens() -> int:
    return sum(AgentState.objects.values_list("tokens_today", flat=True))
