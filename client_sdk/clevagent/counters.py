"""What has accumulated since the last heartbeat. Totals are exact, details are bounded. Pure: no clock, no I/O."""

from __future__ import annotations

import math
from collections import deque
from decimal import Decimal
from typing import Any

from clevagent.log import warn_once
from clevagent.redact import text_of

# The server keeps at most this many of each. The SDK drops details beyond that, but never totals.
MAX_CALLS, MAX_USAGE, MAX_PROMPTS = 50, 200, 5
MICRO = Decimal("0.000001")
SEVERITY_ORDER = ("ok", "shutdown", "warning", "error")
# Parts of the counts before them that providers bill on their own.
DETAILS = (
    "cache_write_1h_tokens", "input_audio_tokens", "output_audio_tokens", "cache_audio_read_tokens",
    "input_image_tokens", "output_image_tokens", "web_searches", "audio_seconds",
)  # fmt: skip
COUNTS = (
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", *DETAILS
)  # fmt: skip
# What decides on the price of a call, besides its size.
PRICED_BY = ("model", "provider", "service_tier", "region")
# Input tokens from which on a call of some model costs more per token, from the price lists of November 2026.
PRICE_STEPS = (32_000, 100_000, 128_000, 200_000, 256_000, 272_000, 512_000, 524_288)


class Counters:
    """Amounts are exact decimals in US dollars. Less than a micro-dollar is carried over to the next heartbeat."""

    def __init__(self, spare: Decimal = Decimal(0)) -> None:
        self.tokens = 0
        self.cost = spare
        self.tool_calls = 0
        self.calls: deque[dict[str, Any]] = deque(maxlen=MAX_CALLS)
        self.usage: list[dict[str, Any]] = []
        self.reported: dict[str, Any] = {}
        self.progress = False
        self.spare = spare

    @property
    def is_empty(self) -> bool:
        counted = self.tokens or self.tool_calls or self.calls or self.usage or self.reported or self.progress
        return not counted and self.cost < MICRO

    def spend(self, tokens: Any, cost_usd: Any) -> None:
        """Add tokens and US dollars. Invalid amounts are ignored with a warning."""
        self.tokens += int(number("tokens", tokens))
        self.cost += decimal("cost_usd", cost_usd)

    def add_usage(self, entry: dict[str, Any]) -> None:
        """Add one model call. Calls stay separate, because prices depend on their size, until there are too many."""
        add_usage(self.usage, entry)

    def add_call(self, entry: dict[str, Any]) -> None:
        self.tool_calls += 1
        self.calls.append(entry)

    def add(self, other: Counters) -> None:
        """Add another instance's counts; its reported fields take precedence."""
        self.tokens += other.tokens
        self.cost += other.cost
        self.tool_calls += other.tool_calls
        self.calls.extend(other.calls)
        for entry in other.usage:
            self.add_usage(entry)
        self.reported.update(other.reported)
        self.progress = self.progress or other.progress

    def to_fields(self) -> dict[str, Any]:
        """Return the heartbeat's non-empty fields, and set `spare` to the amount too small to report."""
        whole = self.cost.quantize(MICRO, rounding="ROUND_DOWN")
        self.spare = self.cost - whole
        fields: dict[str, Any] = {
            "tokens_used": self.tokens,
            "cost_usd": float(whole),
            "tool_calls": self.tool_calls,
            "tool_call_log": list(self.calls),
            "usage": self.usage,
            **self.reported,
        }
        return {name: value for name, value in fields.items() if value not in (None, 0, "", [])}


def add_usage(entries: list[dict[str, Any]], entry: dict[str, Any]) -> None:
    """Add a call. Where there is no more room, calls of the same price per token become one entry."""
    if len(entries) >= MAX_USAGE:
        alike: dict[Any, dict[str, Any]] = {}
        for each in entries:
            known = alike.setdefault(_price_key(each), each)
            if known is not each:
                _merge(known, each)
        entries[:] = alike.values()
    if len(entries) < MAX_USAGE:
        entries.append(entry)
    else:
        _merge(_most_alike(entries, entry), entry)


def _most_alike(entries: list[dict[str, Any]], entry: dict[str, Any]) -> dict[str, Any]:
    same = [known for known in entries if _price_key(known) == _price_key(entry)]
    same = same or [known for known in entries if known["model"] == entry["model"]]
    return (same or entries)[-1]


def _merge(known: dict[str, Any], entry: dict[str, Any]) -> None:
    for name in COUNTS:
        if entry.get(name):
            known[name] = known.get(name, 0) + entry[name]
    known["calls"] = known.get("calls", 1) + entry.get("calls", 1)
    if entry.get("cost_usd"):
        known["cost_usd"] = float(Decimal(str(known.get("cost_usd", 0))) + Decimal(str(entry["cost_usd"])))


def _price_key(entry: dict[str, Any]) -> tuple[Any, ...]:
    """The same for calls whose tokens cost the same; a reported price is kept apart from one that is not known."""
    size = entry.get("input_tokens", 0) / entry.get("calls", 1)
    steps = sum(size > step for step in PRICE_STEPS)
    return (*(entry.get(name) for name in PRICED_BY), steps, entry.get("cost_usd") is None)


def merged(older: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """Merge two heartbeats that were never sent: totals are added, details are cut.

    The newer fields win, except that an error or a warning is never replaced by a better status.
    """
    both = {**older, **newer}
    if SEVERITY_ORDER.index(_status(older)) > SEVERITY_ORDER.index(_status(newer)):
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
    return status if status in SEVERITY_ORDER else "ok"


def _usage_of(older: dict[str, Any], newer: dict[str, Any]) -> list[dict[str, Any]]:
    kept = [dict(entry) for entry in older.get("usage", ())]
    for entry in newer.get("usage", ()):
        add_usage(kept, dict(entry))
    return kept


def sums_of(beat: dict[str, Any]) -> dict[str, Any]:
    """Return the totals of a heartbeat whose details the server refused."""
    kept = _only(beat, "tokens_used", "cost_usd", "tool_calls")
    if beat.get("usage"):
        kept["usage"] = [_only(entry, *PRICED_BY, *COUNTS, "calls", "cost_usd") for entry in beat["usage"]]
    return kept


def _only(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: fields[name] for name in names if name in fields}


def number(name: str, value: Any) -> float:
    """Return a count of at least 0; anything else becomes 0, with a warning."""
    try:
        amount = 0.0 if value is None else float(value)
    except Exception:  # a foreign number type may raise anything
        amount = math.nan
    if math.isfinite(amount) and amount >= 0:
        return amount
    warn_once(f"clevagent: {name}={text_of(value)[:100]} is not a number of at least 0; it is not counted")
    return 0


def decimal(name: str, value: Any) -> Decimal:
    """Return an exact amount of at least 0; anything else becomes 0, with a warning."""
    amount = number(name, value)
    try:
        return Decimal(str(value)) if amount else Decimal(0)
    except ArithmeticError:  # written in a way that only float reads
        return Decimal(str(amount))
