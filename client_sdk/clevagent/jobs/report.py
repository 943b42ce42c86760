"""Reports a run: its start, that it lives, and its end. In a thread of its own, so the command never waits for it.

What the server does not take in time is left to the next run, to an agent or to the runner, as the SDK does.
"""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

from clevagent.log import log
from clevagent.redact import clean, redacted, without_values
from clevagent.reporter import courier
from clevagent.serialization import moment
from clevagent.spool import Place, leave_behind
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

    `transport` is None without an API key: nothing is sent. `place` is where what could not be sent is left.
    """

    def __init__(
        self,
        transport: Transport | None,
        agent: str,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
        place: Place | None = None,
    ) -> None:
        self._transport, self._agent, self._interval, self._clock = transport, agent, interval, clock
        self._place = place
        self._rid, self._began = str(uuid4()), clock()
        self._grown = False
        # Each with the time at which it was made.
        self._waiting: queue.Queue[tuple[dict[str, Any], float] | None] = queue.Queue()
        self._unsent: list[tuple[dict[str, Any], float]] = []
        self._thread = threading.Thread(target=self._run, name="clevagent-run", daemon=True)

    def start(self, schedule: dict[str, Any] | None) -> None:
        """Report the start, with the declared schedule."""
        if self._transport is not None:
            beat = event(self._agent, "start", rid=self._rid, schedule=schedule)
            self._put({**beat, "message": "Started", "progress": True, **self._common()})
            self._thread.start()

    def grown(self) -> None:
        """The command printed something, which is progress."""
        self._grown = True

    def end(self, code: int, memory_mb: float | None, output: bytes) -> None:
        """Report the end, and wait until it has arrived, `CLOSING` seconds at most. Then it is left behind.

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
        self._put({**beat, **kept, **({"custom_data": text} if text else {}), "instance": self._rid})
        self._waiting.put(None)
        self._thread.join(CLOSING)
        # The thread may still wait for an answer. What it sends as well counts once.
        leave_behind(self._place, self._rid, [beat for beat, _ in (*self._unsent, *self._taken())])

    def _put(self, beat: dict[str, Any]) -> None:
        self._waiting.put(self._made(beat))

    def _made(self, beat: dict[str, Any]) -> tuple[dict[str, Any], float]:
        return {**beat, "sent_at": moment(time.time())}, self._clock()

    def _taken(self) -> Iterator[tuple[dict[str, Any], float]]:
        """What the thread has not taken yet."""
        while True:
            try:
                made = self._waiting.get_nowait()
            except queue.Empty:
                return
            if made is not None:
                yield made

    def _common(self) -> dict[str, Any]:
        return {"instance": self._rid, "interval": self._interval}

    def _alive(self) -> dict[str, Any]:
        grown, self._grown = self._grown, False
        beat = {"agent": self._agent, "status": "ok", "sdk": AGENT, "progress": grown, "beat_id": uuid4().hex}
        return {**beat, **self._common()}

    def _run(self) -> None:
        """Send what waits; when nothing does for an interval, that the run lives."""
        if self._transport is None:
            return
        deliver_left(self._place, self._transport)
        ending = False
        deadline = 0.0
        while not (ending and (not self._unsent or self._clock() > deadline)):
            try:
                made = self._waiting.get(timeout=RETRY_AFTER if self._unsent else self._interval)
                if made is None:
                    ending, deadline = True, self._clock() + CLOSING
                else:
                    self._unsent.append(made)
            except queue.Empty:
                if not self._unsent:
                    self._unsent.append(self._made(self._alive()))
            self._send(self._transport)
        self._transport.close()

    def _send(self, transport: Transport) -> None:
        """Send in order. What was not taken for now stays; a refused heartbeat does not."""
        while self._unsent:
            beat, at = self._unsent[0]
            try:
                answer = transport.request("POST", "/heartbeat", {**beat, "age": round(self._clock() - at, 3)})
            except UnreachableError:
                return
            if answer.is_temporary:
                return
            self._unsent = self._unsent[1:]


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


def deliver_left(place: Place | None, transport: Transport) -> None:
    """Send what earlier runs and agents could not, before anything newer of them."""
    if place is None:
        return
    try:
        reporter = courier(place, transport)
        reporter.step(time.monotonic(), time.time())
        reporter.close()
    except Exception:
        log.exception("could not deliver what was left unsent")


def send_once(transport: Transport, beat: dict[str, Any], message: str, place: Place | None = None) -> str:
    """Send one heartbeat. Returns why it was not taken, or nothing. Without an answer it is left in `place`."""
    if message:
        beat = {**beat, "message": clean(message, MAX_MESSAGE)}
    try:
        answer = transport.request("POST", "/heartbeat", beat)
    except UnreachableError as error:
        leave_behind(place, str(beat["beat_id"]), [{**beat, "sent_at": moment(time.time())}])
        return f"{transport.address} does not answer: {error}"
    if not answer.accepted:
        return f"the server refused it: {answer.why}"
    if not isinstance(answer.body, dict) or "agent_id" not in answer.body:
        return f"{transport.address} is no watchdog server"
    left_out = (answer.body.get("left_out") or {}).get("job")
    return f"the server left it out: {left_out}" if left_out else ""
