"""Reads a heartbeat field by field, keeping what can be kept and naming what cannot. Pure.

A wrong detail must not cost an agent its liveness, its identity or its sums. Values of the wrong type are converted
where their meaning is plain, such as `"1200"` for a number.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from agents.domain import heartbeat
from agents.domain.heartbeat import Beat, Doing, ToolCall, Usage, Waiting, hash_of
from agents.domain.wire import job_events
from agents.domain.wire.names import agent_name
from teams.errors import ApiError

# Digits that a number written as text may have.
MAX_DIGITS: Final = 30
MAX_REASON_LENGTH: Final = 300


class _Read(NamedTuple):
    """What could be kept of a field, MISSING if nothing, and why not all."""

    value: Any
    why: str = ""


MISSING: Final[Any] = object()
_Reader = Callable[[Any], _Read]
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


def salvaged(data: Any, body: bytes) -> Beat:
    """The heartbeat in decoded JSON. Raises ApiError 422 when it is not an object or names no agent."""
    if not isinstance(data, dict):
        raise invalid("body", "Expected `object`")
    name = _name(data.get("agent"))
    reads = {field: read(data[field]) for field, read in _FIELDS.items() if data.get(field) is not None}
    kept = {field: read.value for field, read in reads.items() if read.value is not MISSING}
    why = {field: read.why[:MAX_REASON_LENGTH] for field, read in reads.items() if read.why}
    if name.why:
        why["agent"] = name.why
    if "waiting" in data and data["waiting"] is None:  # null means that the wait is over
        kept["waiting"] = None
    if isinstance(data.get("tool_call_log"), list):  # the number of calls, also of those that are not kept
        kept.setdefault("tool_calls", min(len(data["tool_call_log"]), heartbeat.MAX_CALLS_COUNT))
    return Beat(agent=name.value, **kept, left_out=why or None, body_hash=hash_of(body))


def _name(value: Any) -> _Read:
    """Raises ApiError without a name, because then there is no agent to keep anything of."""
    if value is None:
        raise invalid("agent", "is required")
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    name = agent_name(text)
    if not name:
        raise invalid("agent", f"must be a name of 1 to {heartbeat.MAX_NAME_LENGTH} characters")
    return _Read(name, "" if name == text.strip() else f"is stored as {name}")


def invalid(field: str, why: str) -> ApiError:
    return ApiError(422, "invalid", f"{field}: {why}", fields={field: why})


# Readers of one value


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _text(longest: int) -> _Reader:
    """A text, cut to what is stored; other values as JSON."""

    def read(value: Any) -> _Read:
        text = _clean(_text_of(value))
        why = "" if text == _text_of(value) else "had characters that cannot be stored; they were replaced"
        return _Read(text[:longest], f"is cut to {longest:,} characters" if len(text) > longest else why)

    return read


def _clean(text: str) -> str:
    """Without U+0000 and halves of characters, which no database stores."""
    return _UNSTORABLE.sub("\ufffd", text)


def _identifier(longest: int) -> _Reader:
    """A text that is useless when cut, such as the name of a target."""

    def read(value: Any) -> _Read:
        text = _clean(_text_of(value))
        fits = len(text) <= longest and text == _text_of(value)
        return _Read(text) if fits else _Read(MISSING, f"must have 1 to {longest} characters")

    return read


def _beat_id(value: Any) -> _Read:
    """A digest does for an id that is too long: what matters is that the same one comes again."""
    text = _text_of(value)
    if len(text) <= heartbeat.HASH_LENGTH and text == _clean(text):
        return _Read(text)
    return _Read(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())


def _number(minimum: float, maximum: float, *, whole: bool = False) -> _Reader:
    """A number, also written as text. Left out when it is impossible."""

    def read(value: Any) -> _Read:
        number = _numeric(value)
        if number is None or not minimum <= number <= maximum:
            return _Read(MISSING, f"must be a number from {minimum:,.0f} to {maximum:,.0f}")
        if whole and number != int(number):
            return _Read(MISSING, "must be a whole number")
        return _Read(int(number) if whole else number)

    return read


def _numeric(value: Any) -> float | int | None:
    if isinstance(value, str) and len(value) <= MAX_DIGITS:
        try:
            value = float(value) if not value.strip().isdecimal() else int(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def _status(value: Any) -> _Read:
    """An unknown status is shown as a warning: it may be bad news, and it raises no alarm."""
    status = _text_of(value).strip().lower()
    if status in heartbeat.STATUSES:
        return _Read(status)
    return _Read("warning", f"must be one of {', '.join(heartbeat.STATUSES)}; counted as warning")


def _one_of(*values: str) -> _Reader:
    def read(value: Any) -> _Read:
        text = _text_of(value).strip().lower()
        return _Read(text) if text in values else _Read(MISSING, f"must be one of {', '.join(values)}")

    return read


def _yes_or_no(value: Any) -> _Read:
    known = {"true": True, "false": False, "1": True, "0": False}
    answer = known.get(_text_of(value).strip().lower())
    return _Read(MISSING, "must be true or false") if answer is None else _Read(answer)


def _time(value: Any) -> _Read:
    try:
        at = msgspec.convert(value, datetime)
    except (ValueError, OverflowError):  # also msgspec's errors, and half a character
        at = None
    if at is None or at.tzinfo is None:
        return _Read(MISSING, "must be a time with its UTC offset, such as 2030-01-31T12:00:00Z")
    return _Read(at)


def _list_of(read_item: _Reader, most: int) -> _Reader:
    """The last entries, without those of which nothing can be kept. An object by itself is the only entry."""

    def read(value: Any) -> _Read:
        value = [value] if isinstance(value, dict) else value
        if not isinstance(value, list):
            return _Read(MISSING, "must be a list")
        reads = [read_item(item) for item in value[-most:]]
        why = [f"only the last {most} are kept"] if len(value) > most else []
        why += [f"entry {number}: {each.why}" for number, each in enumerate(reads, 1) if each.why]
        return _Read([each.value for each in reads if each.value is not MISSING], "; ".join(why))

    return read


def _struct(kind: type[msgspec.Struct], readers: Mapping[str, _Reader], required: str, default: Any) -> _Reader:
    """An object, of which every field that can be is kept; `required` has a default."""

    def read(value: Any) -> _Read:
        if not isinstance(value, dict):
            return _Read(MISSING, "must be an object")
        reads = {name: field(value[name]) for name, field in readers.items() if value.get(name) is not None}
        kept = {name: each.value for name, each in reads.items() if each.value is not MISSING}
        why = [f"{name} {each.why}" for name, each in reads.items() if each.why]
        if not kept.get(required):
            kept[required] = default
            why.append(f"{required} is required")
        renamed = {"for_" if name == "for" else name: each for name, each in kept.items()}
        return _Read(kind(**renamed), ", ".join(why))

    return read


def _usage(value: Any) -> _Read:
    """All counts are kept: entries beyond the limit are added to an earlier one of the same model."""
    found = _list_of(_use, len(value) if isinstance(value, list) and value else 1)(value)
    if found.value is MISSING or len(found.value) <= heartbeat.MAX_USAGE:
        return found
    kept, rest = found.value[: heartbeat.MAX_USAGE], found.value[heartbeat.MAX_USAGE :]
    for use in rest:
        _add_to(_likest(kept, use), use)
    return _Read(kept, f"only {heartbeat.MAX_USAGE} entries are kept apart")


def _likest(kept: list[Usage], use: Usage) -> Usage:
    """The entry to add this one to: of the same price if there is one, else of the same model, else the last."""
    priced_by = ("model", "provider", "service_tier", "region")
    alike = (each for each in kept if all(getattr(each, name) == getattr(use, name) for name in priced_by))
    return next(alike, None) or next((each for each in kept if each.model == use.model), kept[-1])


def _add_to(total: Usage, use: Usage) -> None:
    total.calls += use.calls
    for name in heartbeat.COUNTS:
        setattr(total, name, getattr(total, name) + getattr(use, name))
    if use.cost_usd is not None:
        total.cost_usd = (total.cost_usd or 0.0) + use.cost_usd


def _pairs(most: int, longest: int, *, texts: bool) -> _Reader:
    """Names and values. With `texts`, numbers and booleans become texts."""

    def read(value: Any) -> _Read:
        if not isinstance(value, dict):
            return _Read(MISSING, "must be an object of names and values")
        fits = {
            _clean(name): each
            for name, each in value.items()
            if len(name) <= heartbeat.LABEL_LENGTH and each is not None
        }
        kept = dict(list(fits.items())[:most])
        dropped = [_clean(name)[: heartbeat.LABEL_LENGTH] for name in value if _clean(name) not in kept]
        limits = f"at most {most}, with names up to {heartbeat.LABEL_LENGTH} and values up to {longest} characters"
        why = f"{limits}; left out: {', '.join(dropped)}" if dropped else ""
        shown = {name: _pair_value(each, longest, texts=texts) for name, each in kept.items()}
        return _Read(shown, why or (limits if shown != kept and texts else ""))

    return read


def _pair_value(value: Any, longest: int, *, texts: bool) -> Any:
    if not texts and (isinstance(value, bool) or _numeric(value) == value):
        return value
    return _clean(_text_of(value))[:longest]


def _waiting(value: Any) -> _Read:
    """A wait is kept even without its end: without it the agent would be taken for stalled."""
    return _wait({"for": value} if isinstance(value, str) else value)


def _doing(value: Any) -> _Read:
    if not isinstance(value, dict) or _time(value.get("since")).value is MISSING:
        return _Read(MISSING, "needs `tool`, a name, and `since`, a time with its UTC offset")
    return _call_in_progress(value)


def _job(value: Any) -> _Read:
    job, why = job_events.salvaged(value)
    return _Read(job or MISSING, why)


# Readers by field

_count = _number(0, heartbeat.MAX_TOKENS, whole=True)
_use = _struct(
    Usage,
    {
        "model": _text(heartbeat.MAX_NAME_LENGTH),
        "provider": _text(heartbeat.MAX_NAME_LENGTH),
        **dict.fromkeys(heartbeat.COUNTS, _count),
        "cost_usd": _number(0, heartbeat.MAX_COST),
        "calls": _number(1, heartbeat.MAX_CALLS_COUNT, whole=True),
        "service_tier": _text(heartbeat.MAX_NAME_LENGTH),
        "region": _text(heartbeat.MAX_NAME_LENGTH),
    },
    required="model",
    default="",
)
_call = _struct(
    ToolCall,
    {
        "name": _text(heartbeat.MAX_NAME_LENGTH),
        "args": _text(heartbeat.MAX_ARGS_LENGTH),
        "args_hash": _text(heartbeat.HASH_LENGTH),
        "result_hash": _text(heartbeat.HASH_LENGTH),
        "ms": _number(0, heartbeat.MAX_MS),
        "ok": _yes_or_no,
    },
    required="name",
    default="unnamed tool",
)
_wait = _struct(
    Waiting, {"for": _text(heartbeat.MAX_MESSAGE_LENGTH), "until": _time}, required="for", default="something"
)
_call_in_progress = _struct(
    Doing, {"tool": _text(heartbeat.MAX_NAME_LENGTH), "since": _time}, required="tool", default="unnamed tool"
)
_FIELDS: Final[dict[str, _Reader]] = {
    **{name: _text(longest) for name, longest in heartbeat.LENGTHS.items()},
    **{name: _number(*bounds, whole=name in (*heartbeat.WHOLE, "seq")) for name, bounds in heartbeat.RANGES.items()},
    "beat_id": _beat_id,
    "restart_target": _identifier(300),
    "container_id": _identifier(300),
    "status": _status,
    "tool_call_log": _list_of(_call, heartbeat.MAX_CALLS),
    "prompt_hashes": _list_of(_text(heartbeat.HASH_LENGTH), heartbeat.MAX_PROMPTS),
    "restart_type": _one_of(*heartbeat.RESTART_TYPES),
    "sent_at": _time,
    "progress": _yes_or_no,
    "usage": _usage,
    "waiting": _waiting,
    "doing": _doing,
    "job": _job,
    "labels": _pairs(heartbeat.MAX_LABELS, heartbeat.MAX_NAME_LENGTH, texts=True),
    "evidence": _pairs(heartbeat.MAX_EVIDENCE, heartbeat.MAX_EVIDENCE_LENGTH, texts=False),
}
