"""A stored heartbeat read again: as it came in, which is what `fold.py` takes, and as the rules see it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

import msgspec

from agents.domain import notes, pricing
from agents.domain.heartbeat import Beat, ToolCall, Waiting
from agents.domain.pricing import MICRO, Spent
from agents.models import AgentState, Heartbeat
from agents.rules.facts import BeatSeen
from agents.rules.observers import version

MAX_CONTINUED: Final = timedelta(days=366)
# Labels that name what an agent is at: another value is another piece of work.
RUN_LABELS: Final = ("run", "run_id", "task", "task_id", "session_id", "conversation_id", "thread_id")


def begins_a_process(row: Heartbeat) -> bool:
    return (row.content or {}).get("note") == notes.STARTED


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
        instance=None if note == notes.DYING else str(process),
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
            found = pricing.merged(found, {use["model"][: pricing.MAX_MODEL_LENGTH] or pricing.UNNAMED: tokens})
    loose = row.unpriced - sum(found.values())
    return pricing.merged(found, {pricing.UNNAMED: loose}) if loose > 0 else found


def sent_by_runner(content: Mapping[str, Any], status: str) -> bool:
    """Whether a runner sent it: what it is told by, its restart type, is not stored."""
    if content.get("note") in (notes.EXPECTED, notes.BLIND) or content.get("evidence"):
        return True
    says_down = (content.get("message") or "").startswith(notes.RUNNER_SAYS_DOWN)
    return (content.get("sdk") or "").endswith(" runner") or (status == "error" and says_down)


def _waiting(content: Mapping[str, Any]) -> Any:
    if content.get("wait_over"):
        return None
    found = content.get("waiting")
    return msgspec.convert(found, Waiting) if found else msgspec.UNSET


def seen(beat: Heartbeat) -> BeatSeen:
    """A stored heartbeat, as rules see it."""
    content = beat.content or {}
    calls = content.get("calls") or []
    return BeatSeen(
        beat.received_at,
        beat.status,
        content.get("message") or "",
        content.get("custom") or "",
        calls,
        beat.tokens,
        beat.cost,
        content.get("note") or "",
        content.get("evidence") or {},
        progress=beat.progress,
        waiting=(content.get("waiting") or {}).get("for", ""),
        wait_over=bool(content.get("wait_over")),
        memory_mb=beat.memory_mb,
        counter=content.get("counter") if calls else beat.tool_calls or None,
        iteration=beat.iteration,
        run=_run(content.get("labels") or {}),
        version=version.named(content.get("labels") or {}),
        prompts=content.get("prompts") or (),
        spent_at=beat.spent_at,
        doing=_doing(content, beat.received_at),
    )


def _doing(content: dict[str, Any], received_at: datetime) -> dict[str, Any]:
    """The tool call that goes on; since when by our clock, where the client says what its own shows.

    Whatever that is, it did not begin after it was told, nor more than a year before.
    """
    doing, sent = content.get("doing"), content.get("sent_at")
    if not doing:
        return {}
    sent_at = datetime.fromisoformat(sent) if sent else received_at
    went_on = (sent_at if sent_at.tzinfo else received_at) - datetime.fromisoformat(doing["since"])
    return {**doing, "since": (received_at - min(max(went_on, timedelta(0)), MAX_CONTINUED)).isoformat()}


def _run(labels: dict[str, str]) -> str:
    """Which run, task or talk an agent says it is at."""
    return " ".join(f"{name}={labels[name]}" for name in RUN_LABELS if name in labels)
