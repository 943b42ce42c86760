"""Reads heartbeats from a request's body. What can be kept of one is kept, and `left_out` says what could not. Pure.

A heartbeat that is right in every field takes the fast way. One that is not is read again, field by field: a wrong
detail must not cost the agent its liveness, its identity or its sums. Only a heartbeat without a name is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final

import msgspec

from agents.domain import heartbeat, intents
from agents.domain.heartbeat import Beat, Doing, ToolCall, Usage, Waiting, hash_of
from agents.domain.wire import job_events
from agents.domain.wire.names import agent_name
from agents.domain.wire.salvage import invalid, salvaged
from teams.errors import ApiError

# Levels of nesting to read; nothing that is stored has more. Deeper values are read as null.
MAX_DEPTH: Final = 32
# Digits beyond every limit below. Python would take long for millions of them.
MAX_DIGITS: Final = 30

_TOKENS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


class _Batch(msgspec.Struct):
    heartbeats: list[msgspec.Raw]


# Read at once: this runs for every heartbeat.
_texts_of, _LONGEST = attrgetter(*heartbeat.LENGTHS), tuple(heartbeat.LENGTHS.values())
_numbers_of, _BOUNDS = attrgetter(*heartbeat.RANGES), tuple(heartbeat.RANGES.values())
_whole_of = attrgetter(*heartbeat.WHOLE)
_beat_decoder = msgspec.json.Decoder(Beat)
_batch_decoder = msgspec.json.Decoder(_Batch)


def decode(body: bytes) -> Beat:
    """Decode one heartbeat.

    Raises ApiError: 400 when the body is not JSON, 422 when it is not an object or names no agent.
    """
    beat = _without_blanks(_strict(body) or salvaged(_parsed(body), body))
    _interpret_intent(beat)
    return beat


def _interpret_intent(beat: Beat) -> None:
    """A runner's target that ended on purpose is no error. Older runners only say so in the message."""
    if beat.by_runner and beat.status in ("error", "shutdown"):
        beat.intent = intents.intent_of(beat.intent, beat.message or "", beat.evidence or {})
        beat.status = "shutdown" if beat.intent in intents.ON_PURPOSE else beat.status
    else:
        beat.intent = None


def decode_batch(body: bytes) -> list[Beat | ApiError]:
    """Decode a batch, in order; a heartbeat that names no agent becomes an ApiError in its place.

    Raises ApiError for the whole batch: 400 when it is not JSON, 422 without `heartbeats` or with more than 500.
    """
    try:
        items = [bytes(raw) for raw in _batch_decoder.decode(body).heartbeats]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        items = [json.dumps(item).encode() for item in _heartbeats_in(_parsed(body))]
    if len(items) > heartbeat.MAX_BATCH:
        raise invalid("heartbeats", f"at most {heartbeat.MAX_BATCH} per batch; send the rest in another batch")
    return [_decoded_or_error(item) for item in items]


def _heartbeats_in(data: Any) -> list[Any]:
    items = data.get("heartbeats") if isinstance(data, dict) else None
    if not isinstance(items, list):
        raise invalid("heartbeats", "is required: a list of heartbeats")
    return items


def _decoded_or_error(body: bytes) -> Beat | ApiError:
    try:
        return decode(body)
    except ApiError as error:
        return error


# The fast way


def _strict(body: bytes) -> Beat | None:
    """The heartbeat, if every field is right and needs no shortening; else None."""
    # PostgreSQL cannot store U+0000 in text.
    if b"\\u0000" in body:
        return None
    try:
        beat = _beat_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    beat.left_out, beat.body_hash = None, hash_of(body)
    beat.agent = beat.agent.strip()
    return beat if _is_right(beat) else None


def _is_right(beat: Beat) -> bool:
    return (
        bool(beat.agent)
        and agent_name(beat.agent) == beat.agent
        and _are_texts_right(beat)
        and _are_numbers_right(beat)
        and _are_lists_right(beat)
        and (not isinstance(beat.waiting, Waiting) or _is_wait_right(beat.waiting))
        and (beat.doing is None or _is_doing_right(beat.doing))
        and (beat.job is None or job_events.is_right(beat.job))
    )


def _are_texts_right(beat: Beat) -> bool:
    return all(text is None or len(text) <= longest for text, longest in zip(_texts_of(beat), _LONGEST, strict=True))


def _are_numbers_right(beat: Beat) -> bool:
    in_range = all(
        value is None or least <= value <= most for value, (least, most) in zip(_numbers_of(beat), _BOUNDS, strict=True)
    )
    return in_range and all(value is None or value == int(value) for value in _whole_of(beat))


def _has_length(text: str | None, longest: int) -> bool:
    return text is None or len(text) <= longest


def _is_in(value: float | None, bounds: tuple[float, float]) -> bool:
    return value is None or bounds[0] <= value <= bounds[1]


def _are_lists_right(beat: Beat) -> bool:
    calls, uses, hashes = beat.tool_call_log or (), beat.usage or (), beat.prompt_hashes or ()
    return (
        len(calls) <= heartbeat.MAX_CALLS
        and all(map(_is_call_right, calls))
        and len(uses) <= heartbeat.MAX_USAGE
        and all(map(_is_use_right, uses))
        and len(hashes) <= heartbeat.MAX_PROMPTS
        and all(len(text) <= heartbeat.HASH_LENGTH for text in hashes)
        and _are_pairs_right(beat.labels or {}, heartbeat.MAX_LABELS, heartbeat.MAX_NAME_LENGTH)
        and _are_pairs_right(beat.evidence or {}, heartbeat.MAX_EVIDENCE, heartbeat.MAX_EVIDENCE_LENGTH)
    )


def _is_call_right(call: ToolCall) -> bool:
    return (
        len(call.name) <= heartbeat.MAX_NAME_LENGTH
        and _has_length(call.args, heartbeat.MAX_ARGS_LENGTH)
        and _has_length(call.args_hash, heartbeat.HASH_LENGTH)
        and _has_length(call.result_hash, heartbeat.HASH_LENGTH)
        and _is_in(call.ms, (0, heartbeat.MAX_MS))
    )


def _is_use_right(use: Usage) -> bool:
    counts = all(0 <= getattr(use, name) <= heartbeat.MAX_TOKENS for name in heartbeat.COUNTS)
    names = all(_has_length(name, heartbeat.MAX_NAME_LENGTH) for name in (use.model, use.service_tier, use.region))
    calls = 1 <= use.calls <= heartbeat.MAX_CALLS_COUNT
    return counts and names and calls and _is_in(use.cost_usd, (0, heartbeat.MAX_COST))


def _are_pairs_right(pairs: Mapping[str, Any], most: int, longest: int) -> bool:
    return len(pairs) <= most and all(
        len(name) <= heartbeat.LABEL_LENGTH and (not isinstance(value, str) or len(value) <= longest)
        for name, value in pairs.items()
    )


def _is_wait_right(wait: Waiting) -> bool:
    return bool(wait.for_) and (wait.until is None or wait.until.tzinfo is not None)


def _is_doing_right(doing: Doing) -> bool:
    return 0 < len(doing.tool) <= heartbeat.MAX_NAME_LENGTH and doing.since.tzinfo is not None


def _without_blanks(beat: Beat) -> Beat:
    """Empty texts and lists mean the same as none."""
    for name in (*heartbeat.LENGTHS, "tool_call_log", "prompt_hashes", "usage", "labels", "evidence"):
        if not getattr(beat, name):
            setattr(beat, name, None)
    return beat


# JSON, as far as it can be read


def _parsed(body: bytes) -> Any:
    """Raises ApiError 400 when the body is not JSON. Takes NaN, halves of characters, and bytes that are not UTF-8."""
    try:
        text = _shallow(body.decode("utf-8", "surrogateescape").lstrip("\ufeff"))
        return json.loads(text, parse_int=_integer, strict=False)
    except ValueError as error:
        message = f"The body is not valid JSON ({error}). Send one JSON object in UTF-8."
        raise ApiError(400, "bad_request", message) from None


def _integer(digits: str) -> float | int:
    return int(digits) if len(digits) <= MAX_DIGITS else math.inf


def _shallow(text: str) -> str:
    """The text with values that are nested too deeply replaced by null."""
    parts, depth, start = [], 0, 0
    for token in _TOKENS.finditer(text):
        if token[0] in ("[", "{"):
            depth += 1
            if depth == MAX_DEPTH:
                parts.append(text[start : token.start()])
        elif token[0] in ("]", "}"):
            if depth == MAX_DEPTH:
                parts.append("null")
                start = token.end()
            depth -= 1
    if depth >= MAX_DEPTH:
        message = "it ends inside a value"
        raise ValueError(message)
    return "".join([*parts, text[start:]])
