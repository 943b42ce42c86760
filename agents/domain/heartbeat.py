"""Wire to Beat: one heartbeat, decoded and validated once. Pure: no Django, no clock.

The fields are those of the published clients plus what our own adds; unknown ones are ignored. Texts that are too
long are cut, because losing a report over its wording would be worse; numbers that cannot be true are refused, but
for the duration of one call, which is left out.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Any, Final, Literal, TypeVar

import msgspec

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
# Above these a number is a mistake: a billion tokens, a million dollars or a terabyte of memory between two beats.
MAX_TOKENS: Final = 1_000_000_000
MAX_COST: Final = 1_000_000.0
MAX_CALLS_COUNT: Final = 1_000_000
MAX_MEMORY: Final = 1_000_000_000.0
MAX_COUNTER: Final = 2**63 - 1
WEEK: Final = 7 * 86_400.0
# A year: what a tool call can take.
MAX_MS: Final = 52 * WEEK * 1_000

T = TypeVar("T")
_SURROUNDING = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


class ToolCall(msgspec.Struct, omit_defaults=True):
    """One entry of `tool_call_log`. Hashes are of the full arguments and result; `ms` is the duration."""

    name: str
    args: str | None = None
    args_hash: str | None = None
    result_hash: str | None = None
    ms: float | None = None
    ok: bool | None = None


class Usage(msgspec.Struct, omit_defaults=True):
    """What one model was used for. Token counts include their cached and reasoning parts; `cost_usd` is a claim."""

    model: str
    provider: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None


class Waiting(msgspec.Struct, rename={"for_": "for"}):
    """A declared wait: for what, and at the latest until when."""

    for_: str
    until: datetime | None = None


class Doing(msgspec.Struct):
    """The tool call that goes on: which tool, and since when by the client's clock."""

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
    # What a runner sees of its target from outside, by short names.
    evidence: dict[str, str | int | float | bool | None] | None = None
    # Hash of the body as it came: an old client's second copy is recognised by it.
    body_hash: int = 0

    @property
    def tokens(self) -> int:
        used = sum(use.input_tokens + use.output_tokens for use in self.usage or ())
        return int(self.tokens_used or 0) + used

    @property
    def cost(self) -> int:
        """Reported spend in micro-dollars."""
        claimed = sum(use.cost_usd or 0.0 for use in self.usage or ())
        return round(((self.cost_usd or 0.0) + claimed) * 1_000_000)

    @property
    def calls(self) -> int:
        return int(self.tool_calls or 0) or len(self.tool_call_log or ())

    @property
    def by_runner(self) -> bool:
        """Whether a runner reports from outside: only runners name a restart type."""
        return self.restart_type is not None

    @property
    def is_blind(self) -> bool:
        """Whether a runner says that it cannot look. It knows nothing of its target, so it says nothing of it."""
        return self.by_runner and self.status == "warning"

    def content(self) -> dict[str, Any] | None:
        """What is kept beside the numbers: texts, calls, usage, custom data. None when there is nothing."""
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
        found = {key: value for key, value in kept.items() if value is not None}
        return found or None


class _Batch(msgspec.Struct):
    heartbeats: list[msgspec.Raw]


_beat_decoder = msgspec.json.Decoder(Beat)
_batch_decoder = msgspec.json.Decoder(_Batch)


def decode(body: bytes) -> Beat:
    """A heartbeat from its JSON.

    Raises ApiError: 400 when it is not JSON, 422 with the fields that are wrong.
    """
    beat = _decoded(_beat_decoder, body)
    _cut(beat)
    if b"\\u0000" in body:
        _refuse_nul(beat)
    _check(beat)
    beat.body_hash = hash_of(body)
    return beat


def decode_batch(body: bytes) -> list[Beat | ApiError]:
    """The heartbeats of a batch, in order; one that is wrong is an ApiError in its place.

    Raises ApiError for the batch as a whole: 400 not JSON, 422 without `heartbeats` or with more than 500.
    """
    batch = _decoded(_batch_decoder, body)
    if len(batch.heartbeats) > MAX_BATCH:
        message = f"heartbeats: at most {MAX_BATCH} in one batch; send the rest in another."
        raise ApiError(422, "invalid", message, fields={"heartbeats": message})
    return [_decoded_or_error(bytes(raw)) for raw in batch.heartbeats]


def hash_of(text: str | bytes) -> int:
    """A 63-bit hash that is the same in every process."""
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
        raise ApiError(400, "bad_request", "The body is nested too deeply; a heartbeat is one flat object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"The body is not valid JSON ({error}); send one JSON object in UTF-8."
        raise ApiError(400, "bad_request", message) from None


def _invalid(reason: str) -> ApiError:
    """msgspec's sentence, taken apart into the field and what is wrong with it."""
    found = _SURROUNDING.search(reason)
    missing = re.search(r"missing required field `(\w+)`", reason)
    field = missing.group(1) if missing else (found.group("path") if found else "") or "body"
    why = "is required" if missing else _SURROUNDING.sub("", reason)
    return ApiError(422, "invalid", f"{field}: {why}", fields={field: why})


def _cut(beat: Beat) -> None:
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
        call.name = call.name[:MAX_ARGS_LENGTH]
        call.args = call.args[:MAX_ARGS_LENGTH] if call.args is not None else None
        call.args_hash = call.args_hash[:64] if call.args_hash else None
        call.result_hash = call.result_hash[:64] if call.result_hash else None
        call.ms = call.ms if call.ms is not None and 0 <= call.ms <= MAX_MS else None


def _short_evidence(evidence: dict[str, Any]) -> dict[str, Any]:
    """The first of them, each cut to what a page can show."""
    kept = list(evidence.items())[:MAX_EVIDENCE]
    return {name[:50]: value[:MAX_EVIDENCE_LENGTH] if isinstance(value, str) else value for name, value in kept}


def _refuse_nul(beat: Beat) -> None:
    """PostgreSQL cannot keep U+0000 in a text. The body only looks as if it held one until the texts are searched."""
    wrong = [name for name, value in msgspec.to_builtins(beat).items() if _holds_nul(value)]
    if wrong:
        why = "contains a NUL character (U+0000); leave it out"
        raise ApiError(422, "invalid", f"{wrong[0]}: {why}", fields=dict.fromkeys(wrong, why))


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(_holds_nul(part) for part in value)


# field -> (least, most)
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
_USAGE_TOKENS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)


def _check(beat: Beat) -> None:
    wrong = _wrong_texts(beat)
    for name, (least, most) in _RANGES.items():
        value = getattr(beat, name)
        if value is not None and not least <= value <= most:
            wrong[name] = f"must be from {least:,.0f} to {most:,.0f}"
    for name in _WHOLE:
        value = getattr(beat, name)
        if isinstance(value, float) and not value.is_integer():
            wrong.setdefault(name, "must be a whole number")
    if beat.usage and not _usage_is_sane(beat.usage):
        wrong["usage"] = (
            f"at most {MAX_USAGE} entries, counts from 0 to {MAX_TOKENS:,}, costs from 0 to {MAX_COST:,.0f}"
        )
    if wrong:
        raise ApiError(422, "invalid", "; ".join(f"{name}: {why}" for name, why in wrong.items()), fields=wrong)


def _wrong_texts(beat: Beat) -> dict[str, str]:
    wrong: dict[str, str] = {}
    if not beat.agent or len(beat.agent) > MAX_NAME_LENGTH or not beat.agent.isprintable():
        wrong["agent"] = f"must be a name of 1 to {MAX_NAME_LENGTH} printable characters"
    if beat.beat_id is not None and not 1 <= len(beat.beat_id) <= 64:
        wrong["beat_id"] = "must have 1 to 64 characters"
    if beat.restart_target is not None and not 1 <= len(beat.restart_target) <= 300:
        wrong["restart_target"] = "must have 1 to 300 characters"
    if beat.container_id is not None and not 1 <= len(beat.container_id) <= 300:
        wrong["container_id"] = "must have 1 to 300 characters"
    if beat.labels and (
        len(beat.labels) > MAX_LABELS or any(len(k) > 50 or len(v) > 200 for k, v in beat.labels.items())
    ):
        wrong["labels"] = f"at most {MAX_LABELS}, names up to 50 and values up to 200 characters"
    waiting = beat.waiting
    if isinstance(waiting, Waiting) and (not waiting.for_ or (waiting.until and waiting.until.tzinfo is None)):
        wrong["waiting"] = "needs `for`, a text, and `until`, a time with its zone, or null"
    if beat.doing and (not beat.doing.tool or beat.doing.since.tzinfo is None):
        wrong["doing"] = "needs `tool`, a name, and `since`, a time with its zone"
    return wrong


def _usage_is_sane(usage: list[Usage]) -> bool:
    if len(usage) > MAX_USAGE:
        return False
    return all(
        len(use.model) <= 200
        and all(0 <= getattr(use, name) <= MAX_TOKENS for name in _USAGE_TOKENS)
        and 0 <= (use.cost_usd or 0) <= MAX_COST
        for use in usage
    )
