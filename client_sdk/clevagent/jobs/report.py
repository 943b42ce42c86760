"""Reports a run: its start, that it lives, and its end. In a thread of its own, so the command never waits for it."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from clevagent.redact import clean, redacted, without_values
from clevagent.transport import Transport, UnreachableError
from clevagent.version import AGENT

# Seconds. An answer takes milliseconds; a server that hangs must not hold up whatever comes after the command.
TIMEOUT = 5.0
# How long the end of a run is tried, at most.
CLOSING = 3.0
RETRY_AFTER = 1.0
# Characters of output that are sent at the end.
MAX_OUTPUT = 10_000
MAX_MESSAGE = 2_000
# Sent by the kernel for lack of memory, or by a person. Windows has no name for it.
SIGKILL = 9


def event(agent: str, name: str, **job: Any) -> dict[str, Any]:
    """The heartbeat that says what happened to a job; `job` are further fields of its event."""
    given = {key: value for key, value in job.items() if value is not None}
    status = "error" if name == "fail" else "ok"
    return {"agent": agent, "status": status, "sdk": AGENT, "job": {"event": name, **given}, "beat_id": uuid4().hex}


class Reporter:
    """Sends heartbeats of one run. Every method returns at once; `close` waits for the end to arrive, a few seconds.

    `transport` is None without an API key: nothing is sent.
    """

    def __init__(
        self, transport: Transport | None, agent: str, interval: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._transport, self._agent, self._interval, self._clock = transport, agent, interval, clock
        self._rid, self._began = str(uuid4()), clock()
        self._grown = False
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="clevagent-run", daemon=True)

    def start(self, schedule: dict[str, Any] | None) -> None:
        """Report the start, with the declared schedule."""
        if self._transport is not None:
            beat = event(self._agent, "start", rid=self._rid, schedule=schedule)
            self._waiting.put({**beat, "message": "Started", "progress": True, **self._common()})
            self._thread.start()

    def grown(self) -> None:
        """The command printed something, which is progress."""
        self._grown = True

    def end(self, code: int, memory_mb: float | None, output: bytes) -> None:
        """Report the end, and wait until it has arrived, `CLOSING` seconds at most.

        `code` is the exit status, negative for a signal.
        """
        if self._transport is None:
            return
        took = max(0.0, self._clock() - self._began)
        name = "fail" if code else "success"
        exit_status = code if code >= 0 else 128 - code
        beat = event(self._agent, name, rid=self._rid, exit_status=exit_status, duration=round(took, 3))
        text = tail(output)
        kept = {"message": f"{ending(code)} after {took:.0f} s", "progress": not code, "memory_mb": memory_mb}
        self._waiting.put({**beat, **kept, **({"custom_data": text} if text else {}), "instance": self._rid})
        self._waiting.put(None)
        self._thread.join(CLOSING)

    def _common(self) -> dict[str, Any]:
        return {"instance": self._rid, "interval": self._interval}

    def _alive(self) -> dict[str, Any]:
        grown, self._grown = self._grown, False
        beat = {"agent": self._agent, "status": "ok", "sdk": AGENT, "progress": grown, "beat_id": uuid4().hex}
        return {**beat, **self._common()}

    def _run(self) -> None:
        """Send what waits; when nothing does for an interval, that the run lives."""
        unsent: list[dict[str, Any]] = []
        ending = False
        deadline = 0.0
        while not (ending and (not unsent or self._clock() > deadline)):
            try:
                beat = self._waiting.get(timeout=RETRY_AFTER if unsent else self._interval)
                if beat is None:
                    ending, deadline = True, self._clock() + CLOSING
                else:
                    unsent.append(beat)
            except queue.Empty:
                if not unsent:
                    unsent.append(self._alive())
            unsent = self._send(unsent)
        if self._transport is not None:
            self._transport.close()

    def _send(self, beats: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Send in order; returns what is to be tried again. A refused heartbeat is not."""
        transport = self._transport
        while beats and transport is not None:
            try:
                answer = transport.request("POST", "/heartbeat", beats[0])
            except UnreachableError:
                return beats
            if answer.is_temporary:
                return beats
            beats = beats[1:]
        return beats


def ending(code: int) -> str:
    """How a command ended, in words. A shell passes the end of its last command on as 128 + the signal."""
    if code == 0:
        return "Succeeded"
    how = f"ended by {_name(-code)}" if code < 0 else f"exit status {code}"
    is_killed = code in (-SIGKILL, 128 + SIGKILL)
    return f"Failed: {how}{', killed (maybe out of memory)' if is_killed else ''}"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def tail(output: bytes) -> str:
    """The last lines of the output as text, without secrets."""
    text = output.decode("utf-8", "replace").replace("\0", "\ufffd")[-2 * MAX_OUTPUT :]
    return redacted(without_values(text))[-MAX_OUTPUT:].strip()


def send_once(transport: Transport, beat: dict[str, Any], message: str) -> str:
    """Send one heartbeat. Returns why it was not taken, or nothing."""
    if message:
        beat = {**beat, "message": clean(message, MAX_MESSAGE)}
    try:
        answer = transport.request("POST", "/heartbeat", beat)
    except UnreachableError as error:
        return f"{transport.address} does not answer: {error}"
    if not answer.accepted:
        return f"the server refused it: {answer.why}"
    if not isinstance(answer.body, dict) or "agent_id" not in answer.body:
        return f"{transport.address} is no watchdog server"
    left_out = (answer.body.get("left_out") or {}).get("job")
    return f"the server left it out: {left_out}" if left_out else ""
