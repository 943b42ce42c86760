"""The sending side: what was counted becomes heartbeats, heartbeats are sent, answers are heard.

One step at a time, with the clock passed in, so that an hour can be tried in a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from clevagent.log import log, once
from clevagent.options import Options
from clevagent.outbox import Outbox, Sealed
from clevagent.recorder import Page, Recorder
from clevagent.serialization import Sealer, wire
from clevagent.transport import Answer, Unreachable

if TYPE_CHECKING:
    from clevagent.spool import Spool

# Heartbeats of a busy agent are at least so far apart, in seconds; what comes in between is in the next one. A little
# under a second, so that one who pings every second is not met a moment too early and then woken for twice.
SPACING = 0.9
# What is spent is on disk within so many seconds, where a spool is asked for.
SPOOL_EVERY = 5.0
# Refusals of the request as it is: sent again it would be refused again.
FINAL_CODES = ("invalid", "bad_request", "too_large")
FINAL_STATUSES = (400, 413, 422)


class Asks(Protocol):
    """What the reporter needs of a transport."""

    def request(self, method: str, path: str, body: Any | None = None) -> Answer: ...
    def limit(self, seconds: float) -> None: ...
    def close(self) -> None: ...


def _spool_of(options: Options, instance: str) -> Spool | None:
    if options.spool is None:
        return None
    from clevagent.spool import Spool  # most agents have none

    return Spool(options.spool, instance)


class Reporter:
    """`is_main` answers whether this process speaks for the agent: a forked child only adds what it did itself."""

    def __init__(
        self,
        options: Options,
        recorder: Recorder,
        transport: Asks,
        heard: Callable[[Any], None],
        *,
        is_main: Callable[[], bool] = lambda: True,
        outbox: Outbox | None = None,
    ) -> None:
        self._options, self._recorder, self._transport, self._heard = options, recorder, transport, heard
        self._is_main = is_main
        self._sealer = Sealer(options)
        self.outbox = outbox or Outbox()
        self.spool = _spool_of(options, self._sealer.instance)
        self._adopted = self.spool is None
        self._sealed_at: float | None = None
        # An error is told at once, but an agent that has them all the time tells them together.
        self._urgent_at = 0.0
        self._one_by_one = False

    @property
    def is_idle(self) -> bool:
        """Whether all that was counted has been accepted."""
        return not self.outbox and not self._recorder.closed and self._recorder.is_quiet

    def step(self, now: float, wall: float) -> float:
        """Do what is due, and answer when to look again unless woken before."""
        self._adopt(now, wall)
        if self._recorder.closed and now >= self._urgent_at:
            self._seal(self._recorder.take_closed(), now, wall)
            self._urgent_at = now + SPACING
        elif self._is_due(now):
            self._seal(self._recorder.take(), now, wall)
        self._send(now)
        return self._next_look(now)

    def finish(self, now: float, wall: float) -> None:
        """Seal and send all there is now, whatever wait was going on."""
        self._seal(self._recorder.take_closed(), now, wall)
        if not self._recorder.is_quiet:
            self._seal(self._recorder.take(), now, wall)
        self.outbox.next_try_at = 0.0
        while self.outbox and self._send(now):
            pass

    def limit_requests(self, seconds: float) -> None:
        """Let no request from now on take longer than this."""
        self._transport.limit(seconds)

    def close(self) -> None:
        """End sending from this process."""
        self._transport.close()
        if self.spool:
            self.spool.close(self.outbox)

    def begin_anew(self) -> None:
        """In a forked child: what waits is the parent's to send."""
        self._sealer.renew()
        self.outbox = Outbox()
        self._sealed_at = None
        if self.spool:
            self.spool.forget(self._sealer.instance)
            self._adopted = True

    def unsent(self) -> str:
        """In words, what has not been accepted."""
        spent = sum(beat.fields.get("cost_usd", 0.0) for beat in self.outbox)
        return f"{len(self.outbox)} heartbeats with ${spent:.4f} reported in them"

    def _adopt(self, now: float, wall: float) -> None:
        if self._adopted or self.spool is None:
            return
        self._adopted = True
        for fields in self.spool.adopt():
            # It may have been stored before its process ended: it stays as it is.
            self.outbox.add(Sealed(fields, now, wall, tried=True))

    def _is_due(self, now: float) -> bool:
        return now >= self._due_at() or (self._recorder.has_news and now >= self._news_at())

    def _due_at(self) -> float:
        """When the next heartbeat is due though nothing happened; a child that did nothing has nothing to say."""
        if self._sealed_at is None:
            return 0.0 if self._is_main() or not self._recorder.counters.is_empty else float("inf")
        every = self._options.interval
        if self.spool is not None and not self._recorder.counters.is_empty:
            every = min(every, SPOOL_EVERY)
        if not self._is_main() and self._recorder.counters.is_empty:
            return float("inf")
        return self._sealed_at + every

    def _news_at(self) -> float:
        """News need not be sealed before they can be sent, but within a minute, to stay near their time."""
        if self._sealed_at is None:
            return 0.0
        return max(self._sealed_at + SPACING, min(self.outbox.next_try_at, self._sealed_at + 60.0))

    def _next_look(self, now: float) -> float:
        looks = [self._due_at()]
        if self._recorder.closed:
            looks.append(self._urgent_at)
        if self._recorder.has_news:
            looks.append(self._news_at())
        if self.outbox:
            looks.append(self.outbox.next_try_at)
        # A child without work looks now and then whether its parent is gone and it speaks for the agent.
        return max(now, min(*looks, now + self._options.interval))

    def _seal(self, pages: list[Page], now: float, wall: float) -> None:
        for page in pages:
            beat = self._sealer.seal(page, self._recorder, now, wall)
            self.outbox.add(beat)
            self._sealed_at = now
            if self.spool:
                self.spool.keep(beat.fields)

    def _send(self, now: float) -> bool:
        """Send what may be sent now. Answers whether more may be sent at once."""
        beats = self.outbox.next_ones(now)[: 1 if self._one_by_one else None]
        if not beats:
            return False
        before = len(self.outbox)
        for beat in beats:
            beat.tried = True
        bodies = [wire(beat, self._recorder.last_progress, now) for beat in beats]
        try:
            self._settle(beats, self._ask(bodies), now)
        except Unreachable as error:
            log.info("no answer from the server (%s); trying again later", error)
            self.outbox.failed(now)
        if self.spool and len(self.outbox) < before:
            self.spool.done(self.outbox)
        return now >= self.outbox.next_try_at

    def _ask(self, bodies: list[dict[str, Any]]) -> Answer:
        if len(bodies) == 1:
            return self._transport.request("POST", "/heartbeat", bodies[0])
        return self._transport.request("POST", "/heartbeat/batch", {"heartbeats": bodies})

    def _settle(self, beats: list[Sealed], answer: Answer, now: float) -> None:
        if not answer.accepted:
            self._refused(beats, answer, now)
            return
        self.outbox.answered()
        results = answer.body.get("results") if isinstance(answer.body, dict) and len(beats) > 1 else [answer.body]
        if not isinstance(results, list) or len(results) != len(beats):
            results = [None] * len(beats)  # taken, and answered by something that is not quite our server
        kept = [self._settle_one(beat, result) for beat, result in zip(beats, results)]
        if any(kept):
            self.outbox.failed(now)

    def _settle_one(self, beat: Sealed, result: Any) -> bool:
        """Take in the answer to one heartbeat. Answers whether it is to be sent again later."""
        error = result.get("error") if isinstance(result, dict) else None
        if not isinstance(error, dict):
            self.outbox.accepted(beat)
            self._heard(result)
            return False
        if error.get("code") in FINAL_CODES:
            self._give_up_detail(beat, str(error.get("message")))
            return False
        once(f"clevagent: the server does not take heartbeats of this agent: {error.get('message')}")
        return True

    def _refused(self, beats: list[Sealed], answer: Answer, now: float) -> None:
        if answer.status not in FINAL_STATUSES:
            if not answer.is_temporary:
                once(f"clevagent: the server does not take heartbeats of this agent: {answer.why}")
            self.outbox.failed(now, answer.retry_after)
        elif len(beats) > 1:
            self._one_by_one = True  # one of them is to blame
        else:
            self._give_up_detail(beats[0], answer.why)
        self._one_by_one = self._one_by_one and bool(self.outbox)

    def _give_up_detail(self, beat: Sealed, why: str) -> None:
        once(f"clevagent: the server refuses a heartbeat ({why}); its detail is dropped, its sums are sent")
        self.outbox.refused(beat)
