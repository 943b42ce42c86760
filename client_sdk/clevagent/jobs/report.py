"""Reports a run: its start, that it lives, and its end. In a thread of its own, so the command never waits for it.

What the server does not take is stored with its time, and sent by the next run, agent or runner with the same key.
"""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from clevagent.log import log
from clevagent.outbox import Heartbeat
from clevagent.redact import redacted, without_values
from clevagent.reporter import Reporter as Sender
from clevagent.serialization import moment
from clevagent.spool import Place, Spool
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
    """Sends heartbeats of one run. `start` and `grown` return at once; `end` waits for its arrival, a few seconds.

    `sender` is None without an API key: nothing is sent.
    """

    def __init__(
        self,
        sender: Sender | None,
        agent: str,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._sender, self._agent, self._interval, self._clock, self._wall = sender, agent, interval, clock, wall
        self._rid, self._began = str(uuid4()), clock()
        self._alive_at = self._began + interval
        self._grown = False
        self._waiting: queue.SimpleQueue[Heartbeat | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="clevagent-run", daemon=True)

    def start(self, schedule: dict[str, Any] | None) -> None:
        """Report the start, with the declared schedule."""
        if self._sender is not None:
            beat = event(self._agent, "start", rid=self._rid, schedule=schedule)
            self._put({**beat, "message": "Started", "progress": True, **self._common()})
            self._thread.start()

    def grown(self) -> None:
        """The command printed something, which is progress."""
        self._grown = True

    def end(self, code: int, memory_mb: float | None, output: bytes) -> None:
        """Report the end, and wait until it has arrived, `CLOSING` seconds at most. Otherwise it is stored.

        `code` is the exit status, negative for a signal.
        """
        if self._sender is None:
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
        if self._thread.is_alive():
            self._store_rest(self._sender)

    def _store_rest(self, sender: Sender) -> None:
        """The server hangs. What it has taken all the same counts once."""
        while not self._waiting.empty():
            if beat := self._waiting.get_nowait():
                sender.outbox.add(beat)
        sender.store_rest(self._clock(), self._wall())

    def _put(self, fields: dict[str, Any]) -> None:
        self._waiting.put(self._made(fields))

    def _made(self, fields: dict[str, Any]) -> Heartbeat:
        wall = self._wall()
        return Heartbeat({**fields, "sent_at": moment(wall)}, self._clock(), wall)

    def _common(self) -> dict[str, Any]:
        return {"instance": self._rid, "interval": self._interval}

    def _alive(self) -> dict[str, Any]:
        grown, self._grown = self._grown, False
        beat = {"agent": self._agent, "status": "ok", "sdk": AGENT, "progress": grown, "beat_id": uuid4().hex}
        return {**beat, **self._common()}

    def _run(self) -> None:
        sender = self._sender
        try:
            if sender is not None:
                self._send_all(sender)
        except Exception:
            log.exception("the run could not be reported")

    def _send_all(self, sender: Sender) -> None:
        """Send what waits; when nothing does for an interval, that the run lives."""
        look_at = self._began
        while self._take(sender, min(look_at, self._alive_at)):
            look_at = sender.step(self._clock(), self._wall())
        self._finish(sender)

    def _take(self, sender: Sender, until: float) -> bool:
        """Wait for the next heartbeat until a time of the clock. Returns whether the run goes on."""
        try:
            beat = self._waiting.get(timeout=max(0.0, until - self._clock()))
        except queue.Empty:
            if self._clock() >= self._alive_at:
                self._alive_at = self._clock() + self._interval
                if not sender.outbox:
                    sender.add(self._made(self._alive()))
            return True
        if beat is not None:
            sender.add(beat)
        return beat is not None

    def _finish(self, sender: Sender) -> None:
        """Try for a while, unless the server refuses it. What is left stays stored."""
        until = self._clock() + CLOSING - RETRY_AFTER
        sender.finish(self._clock(), self._wall(), is_last=True)
        while sender.outbox and not sender.is_refused and self._clock() < until:
            time.sleep(RETRY_AFTER)
            sender.finish(self._clock(), self._wall(), is_last=True)
        sender.close()


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


def send_once(transport: Transport, beat: dict[str, Any], place: Place | None) -> str:
    """Send one heartbeat. Returns why it was not taken, or nothing. One that may be taken later is stored."""
    try:
        answer = transport.request("POST", "/heartbeat", {**beat, "age": 0.0})
    except UnreachableError as error:
        return f"{transport.address} does not answer: {error}{_stored(beat, place)}"
    if not answer.accepted:
        return f"the server refused it: {answer.why}{_stored(beat, place) if answer.is_temporary else ''}"
    if not isinstance(answer.body, dict) or "agent_id" not in answer.body:
        return f"{transport.address} is no watchdog server"
    left_out = (answer.body.get("left_out") or {}).get("job")
    return f"the server left it out: {left_out}" if left_out else ""


def _stored(beat: dict[str, Any], place: Place | None) -> str:
    if place is None:
        return ""
    spool = Spool(place, beat["beat_id"])
    spool.keep(beat)
    if not spool.is_open:
        return ""
    spool.leave()
    return "; it is stored, and sent with the next report"


def deliver(sender: Sender, clock: Callable[[], float] = time.monotonic) -> None:
    """Send what earlier runs stored, for `CLOSING` seconds at most; the rest stays stored."""
    until = clock() + CLOSING
    look_at = sender.step(clock(), time.time())
    while sender.outbox and look_at <= clock() < until:
        look_at = sender.step(clock(), time.time())
    sender.close()
