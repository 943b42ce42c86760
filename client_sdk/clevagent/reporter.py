"""The sending side: turns counts into heartbeats, sends them and handles the answers.

It works in single steps with the clock passed in, so that tests can cover an hour in a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from clevagent.failures import RECOVERY_TIME
from clevagent.log import log, warn_loudly_once, warn_once
from clevagent.options import Options
from clevagent.outbox import Heartbeat, Outbox
from clevagent.recorder import PendingHeartbeat, Recorder
from clevagent.serialization import HeartbeatBuilder, age_of, to_wire
from clevagent.spool import Place, Spool
from clevagent.transport import Answer, UnreachableError

# Minimum seconds between heartbeats; reports in between go into the next one. Slightly under a second, so that an agent
# that pings once a second does not miss the slot by a moment and wake the thread twice.
MIN_SPACING = 0.9
# With a spool, spend is on disk within this many seconds.
SPOOL_EVERY = 5.0
# Seconds between looks for what ended processes left, and the age at which it is no longer of use: as on the server.
ADOPT_EVERY, MAX_AGE = 60.0, 7 * 86_400.0
# Seconds without any answer since the start, after which the address is probably wrong.
NEVER_REACHED = 30.0
# What a heartbeat may not lose: `flush()` is only true once the server has counted these.
SUMS = ("tokens_used", "cost_usd", "tool_calls", "usage")
# Errors in the request itself: sending it again would fail again.
PERMANENT_CODES = ("invalid", "bad_request", "too_large")
PERMANENT_STATUSES = (400, 413, 422)


class RequestSender(Protocol):
    """The part of a transport that the reporter uses."""

    def request(self, method: str, path: str, body: Any | None = None) -> Answer: ...
    def limit(self, seconds: float) -> None: ...
    def close(self) -> None: ...


def courier(transport: RequestSender, endpoint: str, place: Place | None) -> Reporter:
    """Return a reporter that sends what it is given and what ended processes stored. It records nothing itself."""
    options = Options(api_key="", agent="", endpoint=endpoint, interval=ADOPT_EVERY, spool=place)
    return Reporter(options, Recorder(time.monotonic), transport, lambda answer: None, is_main=lambda: False)


def _spool_of(options: Options, instance: str) -> Spool | None:
    return None if options.spool is None else Spool(options.spool, instance)


class Reporter:
    """`is_main` returns whether this process represents the agent. A forked child only reports its own work."""

    def __init__(
        self,
        options: Options,
        recorder: Recorder,
        transport: RequestSender,
        heard: Callable[[Any], None],
        *,
        is_main: Callable[[], bool] = lambda: True,
        outbox: Outbox | None = None,
    ) -> None:
        self._options, self._recorder, self._transport, self._heard = options, recorder, transport, heard
        self._is_main = is_main
        self._builder = HeartbeatBuilder(options)
        self.outbox = outbox or Outbox()
        self.spool = _spool_of(options, self._builder.instance)
        self._adopt_at = float("inf") if self.spool is None else 0.0
        self._built_at: float | None = None
        # Errors are sent immediately, but an agent that keeps failing sends them in batches.
        self._urgent_at = 0.0
        self._one_by_one = False
        # Whether everything was stored before the last attempt to send it.
        self._is_stored = False
        self._unanswered_since: float | None = None
        self._ever_answered = False
        # Whether the last answer was a refusal that another try does not change, such as of a wrong key.
        self.is_refused = False
        self._lost = self._lost_is_known = False

    @property
    def is_idle(self) -> bool:
        """Whether the server has accepted everything reported so far."""
        recorder = self._recorder
        return not self.outbox and not recorder.pending and recorder.failure is None and recorder.is_empty

    def confirm(self) -> bool:
        """Return whether the server has everything. A loss counts until this said so and a heartbeat was accepted."""
        self._lost_is_known = True
        return self.is_idle and not self._lost

    def add(self, beat: Heartbeat) -> None:
        """Queue a heartbeat. Once one could not be sent, the following ones are stored at once."""
        self.outbox.add(beat)
        if self.spool and (self.spool.stores_at_once or self.spool.is_open):
            self.spool.keep(beat.fields)

    def step(self, now: float, wall: float) -> float:
        """Do what is due, and return when to look again unless woken earlier."""
        self._adopt(now, wall)
        self._recorder.release_failure(now)
        if self._recorder.pending and now >= self._urgent_at:
            self._seal(self._recorder.take_pending(), now, wall)
            self._urgent_at = now + MIN_SPACING
        elif self._is_due(now):
            self._seal(self._recorder.take(), now, wall)
        self._send(now)
        return self._next_look(now)

    def finish(self, now: float, wall: float, *, is_last: bool = False) -> None:
        """Send everything now, even during a retry delay. What is sent last is stored first, in case it hangs."""
        self._seal_all(now, wall)
        if is_last and self.spool:
            self.spool.keep_all(self.outbox)
            self._is_stored = self.spool.is_open
        self.outbox.next_try_at = 0.0
        while self.outbox and self._send(now):
            pass

    def _seal_all(self, now: float, wall: float) -> None:
        self._recorder.release_failure()
        self._seal(self._recorder.take_pending(), now, wall)
        if not self._recorder.is_empty:
            self._seal(self._recorder.take(), now, wall)

    def store_rest(self, now: float, wall: float) -> None:
        """Store what is unsent at the end of the program, while the sending thread still waits for an answer.

        That thread may wake up at any time, so this uses a file of its own. What it sends as well counts once.
        """
        if self.spool is None:
            return
        before = len(self.outbox)
        self._seal_all(now, wall)
        if self._is_stored and len(self.outbox) == before:
            return
        rest = self.spool.beside("-rest")
        rest.keep_all(self.outbox)
        rest.leave()

    def limit_requests(self, seconds: float) -> None:
        """Limit the duration of every further request."""
        self._transport.limit(seconds)

    def close(self) -> None:
        """End sending from this process."""
        self._transport.close()
        if self.spool:
            self.spool.close(self.outbox)

    def reset_after_fork(self) -> None:
        """Reset in a forked child: the parent sends what is queued."""
        self._builder.renew()
        self.outbox = Outbox()
        self._built_at = None
        if self.spool:
            self.spool.reset_after_fork(self._builder.instance)
            self._adopt_at = float("inf")

    def unsent(self) -> str:
        """Describe what the server has not accepted."""
        spent = sum(beat.fields.get("cost_usd", 0.0) for beat in self.outbox)
        return f"{len(self.outbox)} heartbeats with ${spent:.4f} of reported cost"

    def _adopt(self, now: float, wall: float) -> None:
        """Take over what ended processes left, at the start and then whenever the server accepts heartbeats."""
        if self.spool is None or now < self._adopt_at or (self.outbox and self._adopt_at):
            return
        self._adopt_at = now + ADOPT_EVERY
        for fields in self.spool.adopt(lambda fields: age_of(fields, wall) <= MAX_AGE):
            age = age_of(fields, wall)
            self.outbox.add(Heartbeat(fields, now - age, wall - age, adopted=True))
        if not self.outbox:
            self.spool.done(self.outbox)

    def _is_due(self, now: float) -> bool:
        return now >= self._due_at() or (self._recorder.has_news and now >= self._news_at())

    def _due_at(self) -> float:
        """When the next heartbeat is due without any news. A child that did nothing has nothing to send."""
        if self._built_at is None:
            return 0.0 if self._is_main() or not self._recorder.counters.is_empty else float("inf")
        every = self._options.interval
        if self.spool is not None and self.spool.stores_at_once and not self._recorder.counters.is_empty:
            every = min(every, SPOOL_EVERY)
        if not self._is_main() and self._recorder.counters.is_empty:
            return float("inf")
        return self._built_at + every

    def _news_at(self) -> float:
        """While sending is delayed, news can wait too, but at most a minute, to stay close to its time."""
        if self._built_at is None:
            return 0.0
        return max(self._built_at + MIN_SPACING, min(self.outbox.next_try_at, self._built_at + 60.0))

    def _next_look(self, now: float) -> float:
        looks = [self._due_at()]
        if self._recorder.pending:
            looks.append(self._urgent_at)
        if self._recorder.has_news:
            looks.append(self._news_at())
        failure = self._recorder.failure
        if failure is not None:
            looks.append(failure[0] + RECOVERY_TIME)
        if self.outbox:
            looks.append(self.outbox.next_try_at)
        # An idle child still checks now and then whether its parent is gone and it represents the agent.
        return max(now, min(*looks, now + self._options.interval))

    def _seal(self, pages: list[PendingHeartbeat], now: float, wall: float) -> None:
        for page in pages:
            self.add(self._builder.build(page, self._recorder, now, wall))
            self._built_at = now

    def _send(self, now: float) -> bool:
        """Send what is due. Return whether more can be sent immediately."""
        beats = self.outbox.next_batch(now)[: 1 if self._one_by_one else None]
        if not beats:
            return False
        before = len(self.outbox)
        for beat in beats:
            beat.tried = True
        bodies = [to_wire(beat, self._recorder.last_progress, now) for beat in beats]
        self.is_refused = False
        try:
            answer = self._ask(bodies)
            self.is_refused = not (answer.accepted or answer.is_temporary)
            self._settle(beats, answer, now)
        except UnreachableError as error:
            self._unanswered(error, now)
            self.outbox.failed(now)
        if self.spool and len(self.outbox) < before:
            self.spool.done(self.outbox)
        if self.spool and self.outbox.next_try_at > now:
            self.spool.keep_all(self.outbox)
        return now >= self.outbox.next_try_at

    def _unanswered(self, error: UnreachableError, now: float) -> None:
        log.info("no answer from the server (%s); retrying later", error)
        self._unanswered_since = now if self._unanswered_since is None else self._unanswered_since
        never = not self._ever_answered and now - self._unanswered_since >= NEVER_REACHED
        if error.needs_fix or never:
            warn_loudly_once(f"clevagent is not reporting: {self._options.endpoint} does not answer ({error})")

    def _ask(self, bodies: list[dict[str, Any]]) -> Answer:
        if len(bodies) == 1:
            return self._transport.request("POST", "/heartbeat", bodies[0])
        return self._transport.request("POST", "/heartbeat/batch", {"heartbeats": bodies})

    def _settle(self, beats: list[Heartbeat], answer: Answer, now: float) -> None:
        self._ever_answered = True
        if not answer.accepted:
            self._refused(beats, answer, now)
            return
        self.outbox.answered()
        results = answer.body.get("results") if isinstance(answer.body, dict) and len(beats) > 1 else [answer.body]
        if not isinstance(results, list) or len(results) != len(beats):
            results = [None] * len(beats)  # accepted, but not answered by a watchdog server
        kept = [self._handle_result(beat, result) for beat, result in zip(beats, results)]
        if any(kept):
            self.outbox.failed(now)

    def _handle_result(self, beat: Heartbeat, result: Any) -> bool:
        """Process the answer to one heartbeat. Return whether to send it again later."""
        error = result.get("error") if isinstance(result, dict) else None
        if not isinstance(error, dict):
            self._accepted(beat, result)
            return False
        if error.get("code") in PERMANENT_CODES:
            self._drop_detail(beat, str(error.get("message")))
            return False
        _say_unaccepted(str(error.get("message")))
        return True

    def _accepted(self, beat: Heartbeat, result: Any) -> None:
        self.outbox.accepted(beat)
        self._lost = self._lost and not self._lost_is_known
        left_out = result.get("left_out") if isinstance(result, dict) else None
        if isinstance(left_out, dict) and left_out:
            warn_once(f"clevagent: the server left out {'; '.join(f'{name}: {why}' for name, why in left_out.items())}")
            if any(name in SUMS for name in left_out):
                self._lose()
        self._heard(result)

    def _lose(self) -> None:
        self._lost, self._lost_is_known = True, False

    def _refused(self, beats: list[Heartbeat], answer: Answer, now: float) -> None:
        if answer.status not in PERMANENT_STATUSES:
            if not answer.is_temporary:
                _say_unaccepted(answer.message or answer.why)
            self.outbox.failed(now, answer.retry_after)
        elif len(beats) > 1:
            self._one_by_one = True  # one of them is at fault
        else:
            self._drop_detail(beats[0], answer.why)
        self._one_by_one = self._one_by_one and bool(self.outbox)

    def _drop_detail(self, beat: Heartbeat, why: str) -> None:
        if self.outbox.refused(beat):
            warn_once(f"clevagent: the server refused a heartbeat ({why}); sending it without details")
        else:
            warn_loudly_once(f"clevagent: the server refused a heartbeat ({why})")
            self._lose()


def _say_unaccepted(why: str) -> None:
    warn_loudly_once(f"clevagent: the server does not accept heartbeats from this agent: {why}")
