"""Decodes and validates one heartbeat. Pure: no Django, no clock.

The fields are those of the published clients and our own; unknown fields are ignored. Long texts are cut, because
losing a heartbeat over its wording would be worse. Impossible numbers are refused, except for the duration of a call,
which is dropped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Literal, TypeVar

import msgspec

from agents.domain import intents
from teams.errors import ApiError

MAX_BATCH: Final = 500
MAX_NAME_LENGTH: Final = 200
MAX_MESSAGE_LENGTH: Final = 2_000
MAX_CUSTOM_LENGTH: Final = 32_000
MAX_ARGS_LENGTH: Final = 200
MAX_CALLS: Final = 50
MAX_PROMPTS: Final = 20
MAX_LABELS: Final = 20
MAX_USAGE: Final = 200
MAX_EVIDENCE: Final = 20
MAX_EVIDENCE_LENGTH: Final = 300
# Larger numbers are mistakes: a billion tokens or a million dollars since the last heartbeat, a petabyte of memory.
MAX_TOKENS: Final = 1_000_000_000
MAX_COST: Final = 1_000_000.0
MAX_CALLS_COUNT: Final = 1_000_000
MAX_MEMORY: Final = 1_000_000_000.0
MAX_COUNTER: Final = 2**63 - 1
WEEK: Final = 7 * 86_400.0
# The longest tool call: a year.
MAX_MS: Final = 52 * WEEK * 1_000

T = TypeVar("T")
_FIELD_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


class ToolCall(msgspec.Struct, omit_defaults=True):
    """One entry of `tool_call_log`. Hashes cover the full arguments and result; `ms` is the duration."""

    name: str
    args: str | None = None
    args_hash: str | None = None
    result_hash: str | None = None
    ms: float | None = None
    ok: bool | None = None


class Usage(msgspec.Struct, omit_defaults=True):
    """Usage of one model. Token counts include cached and reasoning tokens; `cost_usd` is what the client reports."""

    model: str
    provider: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None


class Waiting(msgspec.Struct, rename={"for_": "for"}):
    """A declared wait: what for, and until when at the latest."""

    for_: str
    until: datetime | None = None


class Doing(msgspec.Struct):
    """The tool call in progress: which tool, and since when by the client's clock."""

    tool: str
    since: datetime


class Beat(msgspec.Struct):
    """One heartbeat. Counters are since the last one, `iteration_count` is absolute, durations are seconds."""

    agent: str
    status: Literal["ok", "warning", "error", "shutdown"] = "ok"
    message: str | None = None
    tokens_used: int | float | None = None
    cost_usd: float | None = None
    tool_calls: int | float | None = None
    iteration_count: int | float | None = None
    tool_call_log: list[ToolCall] | None = None
    prompt_hashes: list[str] | None = None
    memory_mb: float | None = None
    custom_data: str | None = None
    agent_type: str | None = None
    container_id: str | None = None
    restart_type: Literal["docker", "systemd", "launchd", "process", "k8s"] | None = None
    restart_target: str | None = None
    # What a runner knows about why its target is not running, see `intents.py`.
    intent: str | None = None
    beat_id: str | None = None
    sent_at: datetime | None = None
    seq: int | None = None
    instance: str | None = None
    sdk: str | None = None
    interval: float | None = None
    progress: bool | None = None
    progress_age: float | None = None
    progress_timeout: float | None = None
    usage: list[Usage] | None = None
    cost_limit_usd: float | None = None
    waiting: Waiting | msgspec.UnsetType | None = msgspec.UNSET
    doing: Doing | None = None
    labels: dict[str, str] | None = None
    # What a runner observes of its target from outside, by short names.
    evidence: dict[str, str | int | float | bool | None] | None = None
    # Hash of the raw body, to recognize a resent heartbeat from an old client, which sends no `beat_id`.
    body_hash: int = 0

    @property
    def tokens(self) -> int:
        used = sum(use.input_tokens + use.output_tokens for use in self.usage or ())
        return int(self.tokens_used or 0) + used

    @property
    def cost(self) -> int:
        """Reported spend in micro-dollars."""
        by_model = sum(use.cost_usd or 0.0 for use in self.usage or ())
        return round(((self.cost_usd or 0.0) + by_model) * 1_000_000)

    @property
    def calls(self) -> int:
        return int(self.tool_calls or 0) or len(self.tool_call_log or ())

    @property
    def by_runner(self) -> bool:
        """Whether a runner sent it: only runners name a restart type."""
        return self.restart_type is not None

    @property
    def is_blind(self) -> bool:
        """Whether a runner says it cannot inspect its target, so this heartbeat says nothing about the agent."""
        return self.by_runner and self.status == "warning"

    def content(self) -> dict[str, Any] | None:
        """Everything stored besides the numbers: texts, calls, usage, custom data. None when there is nothing."""
        kept = {
            "message": self.message,
            "calls": self.tool_call_log or None,
            "counter": self.tool_calls if self.tool_call_log else None,
            "prompts": self.prompt_hashes if self.message or self.tokens or self.calls else None,
            "usage": self.usage or None,
            "custom": self.custom_data,
            "labels": self.labels or None,
            "waiting": self.waiting if isinstance(self.waiting, Waiting) else None,
            "wait_over": True if self.waiting is None else None,
            "doing": self.doing,
            "evidence": self.evidence or None,
            "seq": self.seq,
            "sent_at": self.sent_at,
            "sdk": self.sdk,
        }
        return {key: value for key, value in kept.items() if value is not None} or None


class _Batch(msgspec.Struct):
    heartbeats: list[msgspec.Raw]


_beat_decoder = msgspec.json.Decoder(Beat)
_batch_decoder = msgspec.json.Decoder(_Batch)


def decode(body: bytes) -> Beat:
    """Decode one heartbeat.

    Raises ApiError: 400 when the body is not JSON, 422 with the invalid fields.
    """
    beat = _decoded(_beat_decoder, body)
    _cut(beat)
    if b"\\u0000" in body:
        _refuse_nul(beat)
    _check(beat)
    _interpret_intent(beat)
    beat.body_hash = hash_of(body)
    return beat


def decode_batch(body: bytes) -> list[Beat | ApiError]:
    """Decode a batch, in order; an invalid heartbeat becomes an ApiError in its place.

    Raises ApiError for the whole batch: 400 when it is not JSON, 422 without `heartbeats` or with more than 500.
    """
    batch = _decoded(_batch_decoder, body)
    if len(batch.heartbeats) > MAX_BATCH:
        message = f"heartbeats: at most {MAX_BATCH} per batch; send the rest in another batch."
        raise ApiError(422, "invalid", message, fields={"heartbeats": message})
    return [_decoded_or_error(bytes(raw)) for raw in batch.heartbeats]


def hash_of(text: str | bytes) -> int:
    """A 63-bit hash, identical in every process."""
    data = text.encode() if isinstance(text, str) else text
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") >> 1


def _decoded_or_error(body: bytes) -> Beat | ApiError:
    try:
        return decode(body)
    except ApiError as error:
        return error


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except RecursionError:
        raise ApiError(400, "bad_request", "The body is nested too deeply; send one flat JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"The body is not valid JSON ({error}). Send one JSON object in UTF-8."
        raise ApiError(400, "bad_request", message) from None


def _invalid(reason: str) -> ApiError:
    """Split msgspec's message into the field and the problem."""
    path = _FIELD_PATH.search(reason)
    missing = re.search(r"missing required field `(\w+)`", reason)
    field = missing.group(1) if missing else (path.group("path") if path else "") or "body"
    why = "is required" if missing else _FIELD_PATH.sub("", reason)
    return ApiError(422, "invalid", f"{field}: {why}", fields={field: why})


def _cut(beat: Beat) -> None:
    """Shorten texts and lists to what is stored."""
    beat.agent = beat.agent.strip()
    beat.message = beat.message[:MAX_MESSAGE_LENGTH] if beat.message else None
    beat.custom_data = beat.custom_data[:MAX_CUSTOM_LENGTH] if beat.custom_data else None
    beat.agent_type = beat.agent_type[:50] if beat.agent_type else None
    beat.instance = beat.instance[:64] if beat.instance else None
    beat.sdk = beat.sdk[:50] if beat.sdk else None
    beat.tool_call_log = beat.tool_call_log[-MAX_CALLS:] if beat.tool_call_log else None
    beat.prompt_hashes = [text[:64] for text in beat.prompt_hashes[-MAX_PROMPTS:]] if beat.prompt_hashes else None
    beat.evidence = _short_evidence(beat.evidence) if beat.evidence else None
    if beat.doing:
        beat.doing.tool = beat.doing.tool[:MAX_NAME_LENGTH]
    for call in beat.tool_call_log or ():
        _cut_call(call)


def _cut_call(call: ToolCall) -> None:
    call.name = call.name[:MAX_ARGS_LENGTH]
    call.args = call.args[:MAX_ARGS_LENGTH] if call.args is not None else None
    call.args_hash = call.args_hash[:64] if call.args_hash else None
    call.result_hash = call.result_hash[:64] if call.result_hash else None
    call.ms = call.ms if call.ms is not None and 0 <= call.ms <= MAX_MS else None


def _short_evidence(evidence: dict[str, Any]) -> dict[str, Any]:
    """The first entries, each cut to what a page can show."""
    kept = list(evidence.items())[:MAX_EVIDENCE]
    return {name[:50]: value[:MAX_EVIDENCE_LENGTH] if isinstance(value, str) else value for name, value in kept}


def _interpret_intent(beat: Beat) -> None:
    """A runner's target that ended on purpose is no error. Older runners only say so in the message."""
    if beat.by_runner and beat.status in ("error", "shutdown"):
        beat.intent = intents.intent_of(beat.intent, beat.message or "", beat.evidence or {})
        beat.status = "shutdown" if beat.intent in intents.ON_PURPOSE else beat.status
    else:
        beat.intent = None


def _refuse_nul(beat: Beat) -> None:
    """PostgreSQL cannot store U+0000 in text. The escape in the body may itself be escaped, so check the values."""
    wrong = [name for name, value in msgspec.to_builtins(beat).items() if _holds_nul(value)]
    if wrong:
        why = "contains a NUL character (U+0000); remove it"
        raise ApiError(422, "invalid", f"{wrong[0]}: {why}", fields=dict.fromkeys(wrong, why))


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(_holds_nul(part) for part in value)


# field -> (minimum, maximum)
_RANGES: Final[dict[str, tuple[float, float]]] = {
    "tokens_used": (0, MAX_TOKENS),
    "cost_usd": (0, MAX_COST),
    "tool_calls": (0, MAX_CALLS_COUNT),
    "iteration_count": (0, MAX_COUNTER),
    "memory_mb": (0, MAX_MEMORY),
    "seq": (0, MAX_COUNTER),
    "interval": (1, WEEK),
    "progress_age": (0, 52 * WEEK),
    "progress_timeout": (5, WEEK),
    "cost_limit_usd": (0, MAX_COST),
}
_WHOLE: Final = ("tokens_used", "tool_calls", "iteration_count")
# field -> longest text; the shortest is one character.
_LENGTHS: Final[dict[str, int]] = {"beat_id": 64, "restart_target": 300, "container_id": 300}


def _check(beat: Beat) -> None:
    wrong = {name: why for name, is_valid, why in _CHECKS if not is_valid(beat)}
    for name, longest in _LENGTHS.items():
        text = getattr(beat, name)
        if text is not None and not 1 <= len(text) <= longest:
            wrong[name] = f"must have 1 to {longest} characters"
    for name, (minimum, maximum) in _RANGES.items():
        value = getattr(beat, name)
        if value is not None and not minimum <= value <= maximum:
            wrong[name] = f"must be from {minimum:,.0f} to {maximum:,.0f}"
    for name in _WHOLE:
        value = getattr(beat, name)
        if isinstance(value, float) and not value.is_integer():
            wrong.setdefault(name, "must be a whole number")
    if wrong:
        raise ApiError(422, "invalid", "; ".join(f"{name}: {why}" for name, why in wrong.items()), fields=wrong)


def _is_agent_valid(beat: Beat) -> bool:
    return 1 <= len(beat.agent) <= MAX_NAME_LENGTH and beat.agent.isprintable()


def _are_labels_valid(beat: Beat) -> bool:
    labels = beat.labels
    if not labels:
        return True
    return len(labels) <= MAX_LABELS and all(len(key) <= 50 and len(value) <= 200 for key, value in labels.items())


def _is_waiting_valid(beat: Beat) -> bool:
    waiting = beat.waiting
    if not isinstance(waiting, Waiting):
        return True
    return bool(waiting.for_) and (waiting.until is None or waiting.until.tzinfo is not None)


def _is_doing_valid(beat: Beat) -> bool:
    return beat.doing is None or (bool(beat.doing.tool) and beat.doing.since.tzinfo is not None)


def _is_usage_valid(beat: Beat) -> bool:
    usage = beat.usage
    return not usage or (len(usage) <= MAX_USAGE and all(map(_is_use_valid, usage)))


def _is_use_valid(use: Usage) -> bool:
    return (
        len(use.model) <= 200
        and 0 <= use.input_tokens <= MAX_TOKENS
        and 0 <= use.output_tokens <= MAX_TOKENS
        and 0 <= use.cache_read_tokens <= MAX_TOKENS
        and 0 <= use.cache_write_tokens <= MAX_TOKENS
        and 0 <= use.reasoning_tokens <= MAX_TOKENS
        and 0 <= (use.cost_usd or 0) <= MAX_COST
    )


# field, check, and what to say when it fails
_CHECKS: Final[tuple[tuple[str, Callable[[Beat], bool], str], ...]] = (
    ("agent", _is_agent_valid, f"must be a name of 1 to {MAX_NAME_LENGTH} printable characters"),
    ("labels", _are_labels_valid, f"at most {MAX_LABELS}, with names up to 50 and values up to 200 characters"),
    ("waiting", _is_waiting_valid, "needs `for`, a text, and `until`, a time with its UTC offset or null"),
    ("doing", _is_doing_valid, "needs `tool`, a name, and `since`, a time with its UTC offset"),
    (
        "usage",
        _is_usage_valid,
        f"at most {MAX_USAGE} entries, counts from 0 to {MAX_TOKENS:,}, costs from 0 to {MAX_COST:,.0f}",
    ),
)
