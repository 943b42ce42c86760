"""A stored heartbeat as it came in: what `fold.py` takes, made again of what the store keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from zoneinfo import ZoneInfo

import msgspec

from agents import fold, pricing
from agents.beat import Beat, ToolCall, Waiting
from agents.models import AgentState, Heartbeat
from agents.pricing import MICRO, Spent


def begins_a_process(row: Heartbeat) -> bool:
    return (row.content or {}).get("note") == fold.STARTED


def beat_of(row: Heartbeat, state: AgentState, process: int) -> Beat:
    """The heartbeat as it came, as far as it is stored; what its row told of it then is told again.

    `state` is the hot row it is to be folded into, `process` counts the agent's starts.
    """
    content = row.content or {}
    note = content.get("note")
    by_runner = sent_by_runner(content, row.status)
    return Beat(
        agent=state.agent.name,
        status=cast("Any", row.status),
        message=content.get("message"),
        tokens_used=row.tokens,
        cost_usd=row.cost / MICRO,
        tool_calls=row.tool_calls,
        iteration_count=row.iteration,
        tool_call_log=msgspec.convert(content.get("calls"), list[ToolCall] | None),
        prompt_hashes=content.get("prompts"),
        memory_mb=row.memory_mb,
        restart_type=cast("Any", state.restart_type or "process") if by_runner else None,
        restart_target=state.restart_target or None if by_runner else None,
        beat_id=str(row.pk),
        seq=0,
        instance=None if note == fold.DYING else str(process),
        sdk=content.get("sdk"),
        progress=row.progress,
        waiting=_waiting(content),
        labels=content.get("labels"),
        evidence=content.get("evidence"),
    )


def spent_of(row: Heartbeat, zone: ZoneInfo) -> Spent:
    """What it spent, as it was counted then."""
    day = row.spent_at.astimezone(zone).date()
    return Spent(row.spent_at, day, row.tokens, row.cost, row.priced, _unpriced(row))


def _unpriced(row: Heartbeat) -> dict[str, int]:
    """Its tokens without a price, by model, as `pricing.py` told them apart."""
    content, found = row.content or {}, dict[str, int]()
    for use, price in zip(content.get("usage") or (), content.get("prices") or (), strict=False):
        tokens = use.get("input_tokens", 0) + use.get("output_tokens", 0)
        if price is None and tokens:
            found = pricing.merged(found, {use["model"][: pricing.MODEL_LONGEST] or pricing.UNNAMED: tokens})
    loose = row.unpriced - sum(found.values())
    return pricing.merged(found, {pricing.UNNAMED: loose}) if loose > 0 else found


def sent_by_runner(content: Mapping[str, Any], status: str) -> bool:
    """Whether a runner sent it: what it is told by, its restart type, is not stored."""
    if content.get("note") in (fold.EXPECTED, fold.BLIND) or content.get("evidence"):
        return True
    says_down = (content.get("message") or "").startswith(fold.RUNNER_SAYS_DOWN)
    return (content.get("sdk") or "").endswith(" runner") or (status == "error" and says_down)


def _waiting(content: Mapping[str, Any]) -> Any:
    if content.get("wait_over"):
        return None
    found = content.get("waiting")
    return msgspec.convert(found, Waiting) if found else msgspec.UNSET
