"""Collects what the agent's threads report. Fast and bounded; threads wait only for each other."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from clevagent.counters import MAX_PROMPTS, SEVERITY_ORDER, Counters
from clevagent.failures import RECOVERY_TIME
from clevagent.locks import DeferringLock

# Ids of model calls to remember, so that a call seen by two observers counts once. Both see it within seconds.
MAX_IDS = 2_000
# Errors and warnings kept separate until they are sent. Further ones are merged into the last.
MAX_PENDING = 20
# Shorter ids repeat: Ollama has only 999.
MIN_UNIQUE_ID_LENGTH = 16


class PendingHeartbeat(NamedTuple):
    """One heartbeat in the making: everything reported up to `at`, in seconds of the monotonic clock."""

    counters: Counters
    at: float
    status: str = "ok"

    def merged_with(self, counters: Counters, status: str) -> PendingHeartbeat:
        """Return this heartbeat combined with later counts. The more severe status wins."""
        self.counters.add(counters)
        return self._replace(status=max(self.status, status, key=SEVERITY_ORDER.index))


class Wait(NamedTuple):
    """A declared wait: what for, and until when at the latest."""

    what: str
    until: datetime | None


class Doing(NamedTuple):
    """A running tool call: which tool, and since when on the monotonic clock."""

    tool: str
    since: float


class Recorder:
    """The counts of one process. `wake` tells the sender that there is something to send."""

    def __init__(self, clock: Callable[[], float], wake: Callable[[], None] = lambda: None) -> None:
        self.clock, self.wake = clock, wake
        # Re-entrant, because a signal handler may report while the main thread does.
        self.lock = DeferringLock()
        self.counters = Counters()
        self.pending: list[PendingHeartbeat] = []
        self.iteration: int | None = None
        self.iteration_ms: float | None = None
        self.prompts: deque[str] = deque(maxlen=MAX_PROMPTS)
        self.prompts_changed = False
        self.wait: Wait | None = None
        self.wait_changed = False
        self.last_progress: float | None = None
        self.has_news = False
        # When and how the program last failed, until it either goes on or has not for too long.
        self.failure: tuple[float, str] | None = None
        self.final_status: tuple[str, str | None] = ("ok", None)
        self.running: dict[int, Doing] = {}
        self.counted: OrderedDict[str, None] = OrderedDict()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was reported since the last heartbeat."""
        return self.counters.is_empty and not self.has_news

    def progressed(self) -> None:
        """Record progress: any wait is over, and the next heartbeat says so."""
        with self.lock:
            self.last_progress, self.failure = self.clock(), None
            self.counters.progress = True
            if self.wait is not None:
                self.wait, self.wait_changed = None, True
            self._notify()

    def fail(self, text: str) -> None:
        """Record an exception that the program may still handle. Progress takes it back."""
        with self.lock:
            if self.failure is None:
                self.failure = self.clock(), text
                self.wake()

    def release_failure(self, now: float = float("inf")) -> None:
        """Report an exception that the program has not handled by now."""
        with self.lock:
            if self.failure is not None and now >= self.failure[0] + RECOVERY_TIME:
                text, self.failure = self.failure[1], None
                self.report("error", message=text)

    def report(self, status: str, *, is_final: bool = False, **fields: Any) -> None:
        """Report a status and fields. Any status except `ok` gets a heartbeat of its own, so no later status hides it.

        With `is_final`, any later heartbeat of the process repeats this status.
        """
        with self.lock:
            self.counters.reported.update((name, value) for name, value in fields.items() if value is not None)
            if is_final:
                self.final_status = (status, fields.get("message"))
            if status == "ok":
                self._notify()
                return
            if len(self.pending) < MAX_PENDING:
                self.pending.append(PendingHeartbeat(self.counters, self.clock(), status))
            else:
                self.pending[-1] = self.pending[-1].merged_with(self.counters, status)
            self.counters, self.has_news = Counters(), False
            self.wake()

    def spend(self, tokens: Any, cost_usd: Any) -> None:
        with self.lock:
            self.counters.spend(tokens, cost_usd)

    def add_usage(self, entry: dict[str, Any], call_id: str | None) -> None:
        """Add one model call, unless its id was reported before."""
        with self.lock:
            if call_id is not None and not self._is_first(unique_id(str(call_id), entry)):
                return
            self.counters.add_usage(entry)

    def _is_first(self, call_id: str) -> bool:
        if call_id in self.counted:
            return False
        self.counted[call_id] = None
        if len(self.counted) > MAX_IDS:
            self.counted.popitem(last=False)
        return True

    def add_call(self, entry: dict[str, Any]) -> None:
        with self.lock:
            self.counters.add_call(entry)

    def begin_tool(self, key: int, tool: str) -> None:
        """Record the start of a tool call; `key` identifies it until it ends."""
        with self.lock:
            self.running[key] = Doing(tool, self.clock())

    def end_tool(self, key: int) -> None:
        with self.lock:
            self.running.pop(key, None)

    @property
    def doing(self) -> Doing | None:
        """The running tool call that started last: of nested calls, the innermost."""
        with self.lock:
            return next(reversed(self.running.values()), None)

    def count_calls(self, number: int) -> None:
        with self.lock:
            self.counters.tool_calls += number

    def iterate(self, count: int | None = None) -> None:
        """Set the agent's iteration counter, or increment it."""
        with self.lock:
            self.iteration = (self.iteration or 0) + 1 if count is None else count

    def prompt(self, digest: str) -> None:
        with self.lock:
            self.prompts.append(digest)
            self.prompts_changed = True

    def wait_for(self, wait: Wait | None) -> None:
        """Declare a wait, or its end."""
        with self.lock:
            self.wait, self.wait_changed = wait, True
            self._notify()

    def take(self) -> list[PendingHeartbeat]:
        """Return the separate heartbeats if there are any, else what was reported since the last heartbeat."""
        with self.lock:
            if self.pending:
                return self.take_pending()
            status, message = self.final_status
            if message:
                self.counters.reported.setdefault("message", message)
            page = PendingHeartbeat(self.counters, self.clock(), status)
            self.counters, self.has_news = Counters(), False
            return [page]

    def take_pending(self) -> list[PendingHeartbeat]:
        """Return the heartbeats that must be sent separately, oldest first."""
        with self.lock:
            pages, self.pending = self.pending, []
            return pages

    def carry_over(self, counters: Counters) -> None:
        """Carry over an amount that was too small to report."""
        with self.lock:
            self.counters.cost += counters.spare

    def _notify(self) -> None:
        if not self.has_news:
            self.has_news = True
            self.wake()

    def reset(self) -> None:
        """Reset in a forked child: the parent reports what it counted, and a copied lock may never be released."""
        self.lock = DeferringLock()
        self.counters, self.pending, self.has_news, self.failure = Counters(), [], False, None
        self.wait, self.wait_changed, self.prompts_changed = None, False, False
        self.running = {}


def unique_id(call_id: str, entry: dict[str, Any]) -> str:
    """Return the id. If it is too short to be unique, add what both observers of a call agree on."""
    if len(call_id) >= MIN_UNIQUE_ID_LENGTH:
        return call_id
    return f"{call_id} {entry.get('input_tokens')} {entry.get('output_tokens')}"
