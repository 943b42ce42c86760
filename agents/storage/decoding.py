"""Decodes stored heartbeats: as they came in, for `fold.py`, and as the rules see them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

import msgspec

from agents.domain import notes, pricing
from agents.domain.heartbeat import Beat, JobEvent, ToolCall, Waiting
from agents.domain.money import MICRO
from agents.domain.pricing import Spent
from agents.domain.wire import sender_clock
from agents.models import AgentState, Heartbeat
from agents.rules.facts import BeatSeen
from agents.rules.observers import version

MAX_CONTINUED: Final = timedelta(days=366)
# Labels that name the current run or task: another value means other work.
RUN_LABELS: Final = ("run", "run_id", "task", "task_id", "session_id", "conversation_id", "thread_id")


def begins_a_process(row: Heartbeat) -> bool:
    return (row.content or {}).get("note") == notes.STARTED


def beat_of(row: Heartbeat, state: AgentState, process: int) -> Beat:
    """The heartbeat as it came in, as far as it is stored, so that folding it leads to the same note again.

    `state` is the hot row it will be folded into, `process` counts the agent's starts.
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
        job=msgspec.convert(content.get("job"), JobEvent | None),
    )


def spent_of(row: Heartbeat, zone: ZoneInfo) -> Spent:
    """Its spend, as it was counted when it came in."""
    return Spent(
        at=row.spent_at,
        day=row.spent_at.astimezone(zone).date(),
        tokens=row.tokens,
        cost=row.cost,
        priced=row.priced,
        unpriced=_unpriced(row),
    )


def _unpriced(row: Heartbeat) -> dict[str, int]:
    """Its tokens without a price, by model, like `pricing.py`."""
    content, by_model = row.content or {}, dict[str, int]()
    for use, price in zip(content.get("usage") or (), content.get("prices") or (), strict=False):
        tokens = use.get("input_tokens", 0) + use.get("output_tokens", 0)
        if price is None and tokens:
            model = use["model"][: pricing.MAX_MODEL_LENGTH] or pricing.UNNAMED
            by_model = pricing.merged(by_model, {model: tokens})
    rest = row.unpriced - sum(by_model.values())
    return pricing.merged(by_model, {pricing.UNNAMED: rest}) if rest > 0 else by_model


def sent_by_runner(content: Mapping[str, Any], status: str) -> bool:
    """Whether a runner sent it. Inferred, because the restart type, which only runners send, is not stored."""
    if content.get("note") in (notes.EXPECTED, notes.BLIND) or content.get("evidence"):
        return True
    says_down = (content.get("message") or "").startswith(notes.RUNNER_SAYS_DOWN)
    return (content.get("sdk") or "").endswith(" runner") or (status == "error" and says_down)


def _waiting(content: Mapping[str, Any]) -> Any:
    if content.get("wait_over"):
        return None
    waiting = content.get("waiting")
    return msgspec.convert(waiting, Waiting) if waiting else msgspec.UNSET


def seen(beat: Heartbeat) -> BeatSeen:
    """A stored heartbeat as the rules see it."""
    content = beat.content or {}
    if content.get("note") == notes.OUTDATED:
        return _outdated(beat)
    calls = content.get("calls") or []
    return BeatSeen(
        received_at=beat.received_at,
        status=beat.status,
        message=content.get("message") or "",
        custom=content.get("custom") or "",
        calls=calls,
        tokens=beat.tokens,
        cost=beat.cost,
        note=content.get("note") or "",
        evidence=content.get("evidence") or {},
        progress=beat.progress,
        waiting=(content.get("waiting") or {}).get("for", ""),
        wait_over=bool(content.get("wait_over")),
        memory_mb=beat.memory_mb,
        counter=content.get("counter") if calls else beat.tool_calls or None,
        iteration=beat.iteration,
        run=_run(content.get("labels") or {}),
        version=version.from_labels(content.get("labels") or {}),
        prompts=content.get("prompts") or (),
        spent_at=beat.spent_at,
        doing=_doing(content, beat.received_at),
        claimed=content.get("claimed") or "",
        job=content.get("job") or {},
        made_at=_made_at(beat),
    )


def _outdated(beat: Heartbeat) -> BeatSeen:
    """What an outdated heartbeat says about the agent is not so any more. Its spend and a job's run stay true."""
    content = beat.content or {}
    return BeatSeen(
        received_at=beat.received_at,
        status="ok",
        custom=content.get("custom") or "",
        tokens=beat.tokens,
        cost=beat.cost,
        note=notes.OUTDATED,
        spent_at=beat.spent_at,
        job=content.get("job") or {},
        made_at=_made_at(beat),
    )


def _made_at(beat: Heartbeat) -> datetime | None:
    """Of a heartbeat that a client stored and sent later. A shorter delay is the network's."""
    is_late = ((beat.content or {}).get("age") or 0) > sender_clock.FRESH
    return beat.spent_at if is_late else None


def _doing(content: dict[str, Any], received_at: datetime) -> dict[str, Any]:
    """The tool call in progress, its start converted to our clock if the client sent its own time.

    It began neither after it was reported nor more than a year earlier, whatever the client's clock says.
    """
    doing, sent, age = content.get("doing"), content.get("sent_at"), content.get("age")
    if not doing:
        return {}
    sent_at = datetime.fromisoformat(sent) if sent else received_at
    if sent_at.tzinfo is None or sender_clock.skew(sent_at, age, received_at):
        sent_at = received_at - timedelta(seconds=age or 0)  # its start is by our clock already
    went_on = sent_at - datetime.fromisoformat(doing["since"])
    return {**doing, "since": (received_at - min(max(went_on, timedelta(0)), MAX_CONTINUED)).isoformat()}


def _run(labels: dict[str, str]) -> str:
    """The run, task or conversation named by the labels."""
    return " ".join(f"{name}={labels[name]}" for name in RUN_LABELS if name in labels)
