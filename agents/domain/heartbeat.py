"""One heartbeat and its limits. Pure: no Django, no clock. `wire/` reads it from a request's body.

The fields are those of the published clients and our own.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, Final, Literal, get_args

import msgspec

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
# Seconds, and milliseconds of a tool call: a year, as for an agent's settings. Jobs may run once a month.
YEAR: Final = 366 * 86_400.0
MAX_MS: Final = YEAR * 1_000
HASH_LENGTH: Final = 64
LABEL_LENGTH: Final = 50
Status = Literal["ok", "warning", "error", "shutdown"]
RestartType = Literal["docker", "systemd", "launchd", "process", "k8s"]
STATUSES: Final[tuple[str, ...]] = get_args(Status)
RESTART_TYPES: Final[tuple[str, ...]] = get_args(RestartType)
# What is counted of one model's usage; the longer names are parts of the shorter ones.
COUNTS: Final = (
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("cache_write_1h_tokens", "input_audio_tokens", "output_audio_tokens", "cache_audio_read_tokens"),
    *("input_image_tokens", "output_image_tokens", "web_searches", "audio_seconds"),
)
WHOLE: Final = ("tokens_used", "tool_calls", "iteration_count", "seq")
# field -> (minimum, maximum)
RANGES: Final[dict[str, tuple[float, float]]] = {
    "tokens_used": (0, MAX_TOKENS),
    "cost_usd": (0, MAX_COST),
    "tool_calls": (0, MAX_CALLS_COUNT),
    "iteration_count": (0, MAX_COUNTER),
    "memory_mb": (0, MAX_MEMORY),
    "seq": (0, MAX_COUNTER),
    "interval": (1, YEAR),
    "progress_age": (0, YEAR),
    "progress_timeout": (5, YEAR),
    "cost_limit_usd": (0, MAX_COST),
    "age": (0, YEAR),
}
# field -> longest text
LENGTHS: Final[dict[str, int]] = {
    "message": MAX_MESSAGE_LENGTH,
    "custom_data": MAX_CUSTOM_LENGTH,
    "agent_type": 50,
    "instance": 64,
    "sdk": 50,
    "beat_id": HASH_LENGTH,
    "restart_target": 300,
    "intent": 20,
    "container_id": 300,
}


class ToolCall(msgspec.Struct, omit_defaults=True):
    """One entry of `tool_call_log`. Hashes cover the full arguments and result; `ms` is the duration."""

    name: str
    args: str | None = None
    args_hash: str | None = None
    result_hash: str | None = None
    ms: float | None = None
    ok: bool | None = None


class Usage(msgspec.Struct, omit_defaults=True):
    """Usage of one model. `cost_usd` is what the client reports.

    `input_tokens` include cached, audio and image tokens, `output_tokens` include reasoning, audio and image tokens;
    `cache_write_tokens` include those kept for an hour, `cache_read_tokens` those of audio. `calls` is how many calls
    an entry sums up: prices may depend on the size of each. `service_tier` and `region` are as the provider reports
    them, such as `batch`, `flex` and `us`.
    """

    model: str
    provider: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    cache_audio_read_tokens: int = 0
    input_image_tokens: int = 0
    output_image_tokens: int = 0
    web_searches: int = 0
    audio_seconds: int = 0
    calls: int = 1
    service_tier: str | None = None
    region: str | None = None


class Waiting(msgspec.Struct, rename={"for_": "for"}):
    """A declared wait: what for, and until when at the latest."""

    for_: str
    until: datetime | None = None


class Doing(msgspec.Struct):
    """The tool call in progress: which tool, and since when by the client's clock."""

    tool: str
    since: datetime


class Declared(msgspec.Struct, omit_defaults=True):
    """The schedule that a client declares for its job, see `schedules.py`. Durations are seconds."""

    kind: Literal["none", "period", "cron", "on_calendar"]
    expression: str | None = None
    time_zone: str | None = None
    period: float | None = None
    grace: float | None = None
    max_duration: float | None = None


class JobEvent(msgspec.Struct, omit_defaults=True):
    """What a heartbeat says about a run of a job. `rid` tells overlapping runs apart; `duration` is in seconds."""

    event: Literal["start", "success", "fail", "log"]
    rid: str | None = None
    exit_status: int | None = None
    duration: float | None = None
    schedule: Declared | None = None


class Beat(msgspec.Struct):
    """One heartbeat. Counters are since the last one, `iteration_count` is absolute, durations are seconds."""

    agent: str
    status: Status = "ok"
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
    restart_type: RestartType | None = None
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
    job: JobEvent | None = None
    # Seconds from its making to the sending of the request, by the client's steady clock.
    age: float | None = None
    # What could not be kept of it: field -> why. Set by the server.
    left_out: dict[str, str] | None = None
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
            "job": self.job,
            "seq": self.seq,
            "sent_at": self.sent_at,
            "age": self.age if self.sent_at else None,
            "sdk": self.sdk,
            "left_out": self.left_out,
        }
        return {key: value for key, value in kept.items() if value is not None} or None


def hash_of(text: str | bytes) -> int:
    """A 63-bit hash, identical in every process."""
    data = text.encode() if isinstance(text, str) else text
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") >> 1
