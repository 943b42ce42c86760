"""What has been counted since the last heartbeat. Sums are exact; detail is bounded. Pure: no clock, no I/O."""

from __future__ import annotations

import math
from collections import deque
from decimal import Decimal
from typing import Any

from clevagent.log import once

# The server keeps so many of each at most; what is beyond them is dropped here, its sums are not.
MAX_CALLS, MAX_USAGE, MAX_PROMPTS = 50, 200, 5
MICRO = Decimal("0.000001")
LOUDNESS = ("ok", "shutdown", "warning", "error")
COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


class Counters:
    """Money is in US dollars as exact decimals; what is below a micro-dollar waits for the next heartbeat."""

    def __init__(self, spare: Decimal = Decimal(0)) -> None:
        self.tokens = 0
        self.cost = spare
        self.tool_calls = 0
        self.calls: deque[dict[str, Any]] = deque(maxlen=MAX_CALLS)
        self.usage: list[dict[str, Any]] = []
        self.said: dict[str, Any] = {}
        self.progress = False
        self.spare = spare

    @property
    def is_empty(self) -> bool:
        counted = self.tokens or self.tool_calls or self.calls or self.usage or self.said or self.progress
        return not counted and self.cost < MICRO

    def spend(self, tokens: Any, cost_usd: Any) -> None:
        """Add tokens and US dollars; what is no number that could be spent is left out, and said once."""
        self.tokens += int(number("tokens", tokens))
        self.cost += decimal("cost_usd", cost_usd)

    def use(self, entry: dict[str, Any]) -> None:
        """Add one model call: each stays apart, since prices depend on its size, until there are too many."""
        if len(self.usage) < MAX_USAGE:
            self.usage.append(entry)
        else:
            add_usage(self.usage, entry)

    def call(self, entry: dict[str, Any]) -> None:
        self.tool_calls += 1
        self.calls.append(entry)

    def add(self, other: Counters) -> None:
        """Add what another counters counted; what it said replaces what was said here."""
        self.tokens += other.tokens
        self.cost += other.cost
        self.tool_calls += other.tool_calls
        self.calls.extend(other.calls)
        for entry in other.usage:
            self.use(entry)
        self.said.update(other.said)
        self.progress = self.progress or other.progress

    def seal(self) -> dict[str, Any]:
        """The heartbeat's fields for what was counted; empty ones are left out. Sets `spare` to what is too small."""
        whole = self.cost.quantize(MICRO, rounding="ROUND_DOWN")
        self.spare = self.cost - whole
        fields: dict[str, Any] = {
            "tokens_used": self.tokens,
            "cost_usd": float(whole),
            "tool_calls": self.tool_calls,
            "tool_call_log": list(self.calls),
            "usage": self.usage,
            **self.said,
        }
        return {name: value for name, value in fields.items() if value not in (None, 0, "", [])}


def add_usage(entries: list[dict[str, Any]], entry: dict[str, Any]) -> None:
    """Add a call to the last one of its model, or to the last of all where its model has none."""
    same = [known for known in entries if _model_of(known) == _model_of(entry)]
    known = (same or entries)[-1]
    for name in COUNTS:
        if entry.get(name):
            known[name] = known.get(name, 0) + entry[name]
    if entry.get("cost_usd"):
        known["cost_usd"] = float(Decimal(str(known.get("cost_usd", 0))) + Decimal(str(entry["cost_usd"])))


def _model_of(entry: dict[str, Any]) -> tuple[Any, Any]:
    return entry["model"], entry.get("provider")


def merged(older: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """Two heartbeats that were never sent, as one: sums are added, detail is cut.

    Of what was said the last is kept, but an error or a warning is kept over what is better.
    """
    both = {**older, **newer}
    if LOUDNESS.index(_status(older)) > LOUDNESS.index(_status(newer)):
        both.update(_only(older, "status", "message", "custom_data"))
    if "doing" not in newer:
        both.pop("doing", None)
    for name in ("tokens_used", "tool_calls"):
        if name in both:
            both[name] = older.get(name, 0) + newer.get(name, 0)
    if "cost_usd" in both:
        both["cost_usd"] = float(sum(Decimal(str(beat.get("cost_usd", 0))) for beat in (older, newer)))
    if "tool_call_log" in both:
        both["tool_call_log"] = [*older.get("tool_call_log", ()), *newer.get("tool_call_log", ())][-MAX_CALLS:]
    if "usage" in both:
        both["usage"] = _usage_of(older, newer)
    return both


def _status(beat: dict[str, Any]) -> str:
    status = beat.get("status")
    return status if status in LOUDNESS else "ok"


def _usage_of(older: dict[str, Any], newer: dict[str, Any]) -> list[dict[str, Any]]:
    kept = [dict(entry) for entry in older.get("usage", ())]
    for entry in newer.get("usage", ()):
        if len(kept) < MAX_USAGE:
            kept.append(entry)
        else:
            add_usage(kept, entry)
    return kept


def sums_of(beat: dict[str, Any]) -> dict[str, Any]:
    """What must not be lost of a heartbeat that is refused for its detail."""
    kept = _only(beat, "tokens_used", "cost_usd", "tool_calls")
    if beat.get("usage"):
        kept["usage"] = [_only(entry, "model", "provider", *COUNTS, "cost_usd") for entry in beat["usage"]]
    return kept


def _only(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: fields[name] for name in names if name in fields}


def number(name: str, value: Any) -> float:
    """A count of at least 0; anything else is 0, and said once."""
    try:
        found = float(value or 0)
    except (TypeError, ValueError):
        found = math.nan
    if math.isfinite(found) and found >= 0:
        return found
    once(f"clevagent: {name}={value!r} is not a number from 0 up; it is not counted")
    return 0


def decimal(name: str, value: Any) -> Decimal:
    """An amount of at least 0, exactly as it is written; anything else is 0, and said once."""
    return Decimal(str(value)) if value and number(name, value) else Decimal(0)
