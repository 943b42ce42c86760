"""From what was counted to a heartbeat as the server reads it."""

from __future__ import annotations

import json
import os
import socket
from datetime import datetime, timezone
from typing import Any

from clevagent.log import once
from clevagent.options import MAX_NAME_LENGTH, Options
from clevagent.outbox import Sealed
from clevagent.recorder import Page, Recorder, Wait
from clevagent.redact import clean
from clevagent.version import AGENT

# What the server keeps of each; longer ones are cut here, so that they are not sent for nothing.
MAX_ARGS_LENGTH, MAX_MESSAGE_LENGTH, MAX_CUSTOM_LENGTH = 200, 2_000, 32_000
# Seconds. Memory does not leak faster, and asking the kernel at every heartbeat is felt in `bench/sdk.py`.
MEMORY_EVERY = 10.0
# Progress older than this, in seconds, is told by its age: it did not happen as the heartbeat comes in.
FRESH = 2.0


class Sealer:
    """Numbers the heartbeats of one process. `instance` tells it from the agent's other and earlier processes."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._memory: tuple[float, float | None] = (-MEMORY_EVERY, None)
        self.renew()

    def renew(self) -> None:
        """A new process begins."""
        self.instance = f"{socket.gethostname()[:30]}-{os.getpid()}-{os.urandom(3).hex()}"
        self._seq = 0

    def seal(self, page: Page, recorder: Recorder, now: float, wall: float) -> Sealed:
        """A heartbeat of a page that is ended. What was counted but is too small to send counts on."""
        counted = page.counters.seal()
        recorder.give_back(page.counters)
        self._seq += 1
        made = wall - (now - page.at)
        fields = {**self._who(page.status, made), **self._state(recorder, now, wall), **_cut(counted)}
        sealed = Sealed({name: value for name, value in fields.items() if value is not None}, page.at, made)
        sealed.progress = page.counters.progress
        if "waiting" in fields:  # a null says that the wait is over
            sealed.fields["waiting"] = fields["waiting"]
        return sealed

    def _who(self, status: str, made: float) -> dict[str, Any]:
        options = self._options
        first = {"labels": dict(options.labels or {}) or None} if self._seq == 1 else {}
        return {
            "agent": options.agent,
            "status": status,
            "beat_id": os.urandom(16).hex(),
            "seq": self._seq,
            "instance": self.instance,
            "sdk": AGENT,
            "sent_at": _moment(made),
            "interval": options.interval,
            "agent_type": options.agent_type,
            "cost_limit_usd": options.cost_limit_usd,
            "progress_timeout": options.progress_timeout,
            **first,
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
            state["doing"] = {"tool": clean(doing.tool, MAX_NAME_LENGTH), "since": _moment(wall - (now - doing.since))}
        return state


def wire(beat: Sealed, last_progress: float | None, now: float) -> dict[str, Any]:
    """The heartbeat as it is sent now. An agent that never said when it progresses leaves that to the server."""
    if last_progress is None or beat.reduced:
        return beat.fields
    if beat.progress and now - beat.at < FRESH:
        return {**beat.fields, "progress": True}
    return {**beat.fields, "progress": False, "progress_age": round(max(0.0, now - last_progress), 3)}


def memory_mb() -> float | None:
    """What this process holds in memory, in MiB; None where /proc does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - half the time of a Path, at every heartbeat
            pages = int(file.read().split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 1_048_576, 1)
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def _waiting(wait: Wait | None) -> dict[str, Any] | None:
    if wait is None:
        return None
    return {"for": wait.what, "until": _moment(wait.until.timestamp()) if wait.until else None}


def _moment(wall: float) -> str:
    return datetime.fromtimestamp(wall, timezone.utc).isoformat()


def _cut(counted: dict[str, Any]) -> dict[str, Any]:
    """Texts as long as the server keeps them, without secrets; what it could not store is left out."""
    if "message" in counted:
        counted["message"] = clean(counted["message"], MAX_MESSAGE_LENGTH)
    if "custom_data" in counted:
        counted["custom_data"] = clean(counted["custom_data"], MAX_CUSTOM_LENGTH)
    for call in counted.get("tool_call_log", ()):
        call["name"] = clean(call["name"], MAX_NAME_LENGTH)
        if call.get("args"):
            call["args"] = clean(call["args"], MAX_ARGS_LENGTH)
    return counted


def custom_text(data: Any) -> str | None:
    """Custom data as the JSON that is sent; None for what is none, or too much."""
    try:
        text = data if isinstance(data, str) else json.dumps(data, default=str, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        once(f"clevagent: custom data that is no JSON was left out ({error})")
        return None
    if len(text) > MAX_CUSTOM_LENGTH:
        once(f"clevagent: custom data of more than {MAX_CUSTOM_LENGTH:,} characters was left out")
        return None
    return text
