"""Converts recorded counts into heartbeats as the server reads them."""

from __future__ import annotations

import json
import os
import socket
from datetime import datetime, timezone
from typing import Any

from clevagent.log import warn_once
from clevagent.options import MAX_NAME_LENGTH, Options
from clevagent.outbox import Heartbeat
from clevagent.recorder import PendingHeartbeat, Recorder, Wait
from clevagent.redact import clean, storable
from clevagent.version import AGENT

# Maximum characters the server stores; the SDK cuts longer texts instead of sending them for nothing.
MAX_ARGS_LENGTH, MAX_MESSAGE_LENGTH, MAX_CUSTOM_LENGTH = 200, 2_000, 32_000
# Seconds. Leaks are slower than this, and reading /proc for every heartbeat shows up in `bench/sdk.py`.
MEMORY_EVERY = 10.0
# Seconds. Older progress is reported by its age, because it did not happen when the heartbeat arrives.
FRESH = 2.0
# The server compares the silence of agents on one host, so every heartbeat names it if a label does.
HOST_LABELS = ("host", "hostname", "host.name", "node")


class HeartbeatBuilder:
    """Builds and numbers one process's heartbeats. `instance` distinguishes it from the agent's other processes."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._memory: tuple[float, float | None] = (-MEMORY_EVERY, None)
        self.renew()

    def renew(self) -> None:
        """Start over with a new instance id."""
        self.instance = f"{socket.gethostname()[:30]}-{os.getpid()}-{os.urandom(3).hex()}"
        self._seq = 0

    def build(self, page: PendingHeartbeat, recorder: Recorder, now: float, wall: float) -> Heartbeat:
        """Convert a pending heartbeat. Amounts too small to report are carried over."""
        counted = page.counters.to_fields()
        recorder.carry_over(page.counters)
        self._seq += 1
        made = wall - (now - page.at)
        fields = {**self._who(page.status, made), **self._state(recorder, now, wall), **_cut(counted)}
        sealed = Heartbeat({name: value for name, value in fields.items() if value is not None}, page.at, made)
        sealed.progress = page.counters.progress
        if "waiting" in fields:  # null means the wait is over
            sealed.fields["waiting"] = fields["waiting"]
        return sealed

    def _who(self, status: str, made: float) -> dict[str, Any]:
        options = self._options
        labels = dict(options.labels or {})
        if self._seq > 1:
            labels = {name: labels[name] for name in HOST_LABELS if name in labels}
        return {
            "agent": options.agent,
            "status": status,
            "beat_id": os.urandom(16).hex(),
            "seq": self._seq,
            "instance": self.instance,
            "sdk": AGENT,
            "sent_at": moment(made),
            "interval": options.interval,
            "agent_type": options.agent_type,
            "cost_limit_usd": options.cost_limit_usd,
            "progress_timeout": options.progress_timeout,
            "labels": labels or None,
        }

    def _state(self, recorder: Recorder, now: float, wall: float) -> dict[str, Any]:
        if now - self._memory[0] >= MEMORY_EVERY:
            self._memory = now, memory_mb()
        state: dict[str, Any] = {"iteration_count": recorder.iteration, "memory_mb": self._memory[1]}
        state["iteration_ms"], recorder.iteration_ms = recorder.iteration_ms, None
        if recorder.prompts_changed:
            state["prompt_hashes"], recorder.prompts_changed = list(recorder.prompts), False
        if recorder.wait is not None or recorder.wait_changed:
            state["waiting"], recorder.wait_changed = _waiting(recorder.wait), False
        doing = recorder.doing
        if doing is not None:
            state["doing"] = {
                "tool": storable(doing.tool, MAX_NAME_LENGTH),
                "since": moment(wall - (now - doing.since)),
            }
        return state


def to_wire(beat: Heartbeat, last_progress: float | None, now: float) -> dict[str, Any]:
    """Return the heartbeat's fields for sending now, with its age, which holds even if this machine's clock is wrong.

    Without declared progress, the server judges progress itself.
    """
    fields = {**beat.fields, "age": round(max(0.0, now - beat.at), 3)}
    if beat.adopted:  # nothing is known of that process's progress since
        return {**fields, "progress": False}
    if last_progress is None or beat.reduced:
        return fields
    if beat.progress and now - beat.at < FRESH:
        return {**fields, "progress": True}
    return {**fields, "progress": False, "progress_age": round(max(0.0, now - last_progress), 3)}


def age_of(fields: dict[str, Any], wall: float) -> float:
    """Return how many seconds ago an earlier process made the heartbeat, by this machine's clock; 0 if unknown."""
    try:
        return max(0.0, wall - datetime.fromisoformat(fields["sent_at"]).timestamp())
    except (KeyError, TypeError, ValueError, OverflowError):
        return 0.0


def memory_mb() -> float | None:
    """Return this process's resident memory in MiB, or None without /proc."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - half the time of a Path, for every heartbeat
            pages = int(file.read().split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 1_048_576, 1)
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def _waiting(wait: Wait | None) -> dict[str, Any] | None:
    if wait is None:
        return None
    return {"for": wait.what, "until": moment(wait.until.timestamp()) if wait.until else None}


def moment(wall: float) -> str:
    """Return seconds since 1970 as the API writes times."""
    return datetime.fromtimestamp(wall, timezone.utc).isoformat()


def _cut(counted: dict[str, Any]) -> dict[str, Any]:
    """Cut texts to the server's limits, and remove secrets and characters it cannot store."""
    if "message" in counted:
        counted["message"] = clean(counted["message"], MAX_MESSAGE_LENGTH)
    if "custom_data" in counted:
        counted["custom_data"] = clean(counted["custom_data"], MAX_CUSTOM_LENGTH)
    for call in counted.get("tool_call_log", ()):
        if call.get("args"):
            call["args"] = clean(call["args"], MAX_ARGS_LENGTH)
    return counted


def custom_text(data: Any) -> str | None:
    """Return custom data as JSON, or None if it is invalid or too long."""
    try:
        text = data if isinstance(data, str) else json.dumps(data, default=str, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        warn_once(f"clevagent: custom data is not valid JSON and was dropped ({error})")
        return None
    if len(text) > MAX_CUSTOM_LENGTH:
        warn_once(f"clevagent: custom data has more than {MAX_CUSTOM_LENGTH:,} characters and was dropped")
        return None
    return text
