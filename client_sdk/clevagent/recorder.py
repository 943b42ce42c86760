"""What the agent's own threads write down: fast, bounded, and never waiting for anything but one another."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from clevagent.counters import LOUDNESS, MAX_PROMPTS, Counters
from clevagent.locks import DeferringLock

# Model calls remembered by their id, so that one which two observers see is counted once: they see it in seconds.
MAX_IDS = 2_000
# Errors and warnings kept apart until the sender takes them; what comes on top is added to the last one.
MAX_CLOSED = 20
# Shorter ids repeat: Ollama has 999 of them.
MIN_ID_LENGTH = 16


class Page(NamedTuple):
    """One heartbeat in the making: what was counted and said up to `at`, on the clock that only goes forward."""

    counters: Counters
    at: float
    status: str = "ok"

    def with_more(self, counters: Counters, status: str) -> Page:
        """This page and what came on top of it; the louder status stays."""
        self.counters.add(counters)
        return self._replace(status=max(self.status, status, key=LOUDNESS.index))


class Wait(NamedTuple):
    """A declared wait: for what, and until when at the latest."""

    what: str
    until: datetime | None


class Doing(NamedTuple):
    """A tool call that has begun and not ended: which tool, and since when, on the clock that only goes forward."""

    tool: str
    since: float


class Recorder:
    """The numbers of one process. `wake` tells the sender that there is something to say."""

    def __init__(self, clock: Callable[[], float], wake: Callable[[], None] = lambda: None) -> None:
        self.clock, self.wake = clock, wake
        # Re-entrant, because a signal handler may report while the main thread does.
        self.lock = DeferringLock()
        self.counters = Counters()
        self.closed: list[Page] = []
        self.iteration: int | None = None
        self.iteration_ms: float | None = None
        self.prompts: deque[str] = deque(maxlen=MAX_PROMPTS)
        self.prompts_changed = False
        self.wait: Wait | None = None
        self.wait_changed = False
        self.last_progress: float | None = None
        self.has_news = False
        self.last_word: tuple[str, str | None] = ("ok", None)
        self.running: dict[int, Doing] = {}
        self.counted: OrderedDict[str, None] = OrderedDict()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing was counted or said since the last page."""
        return self.counters.is_empty and not self.has_news

    def progressed(self) -> None:
        """Work moved: the wait is over, and the next heartbeat says so."""
        with self.lock:
            self.last_progress = self.clock()
            self.counters.progress = True
            if self.wait is not None:
                self.wait, self.wait_changed = None, True
            self._tell()

    def say(self, status: str, *, stands: bool = False, **said: Any) -> None:
        """Words of the agent. Any status but `ok` is a heartbeat of its own, so that no later one hides it.

        What `stands` is the process's last word: a heartbeat that still comes after it says the same.
        """
        with self.lock:
            self.counters.said.update((name, value) for name, value in said.items() if value is not None)
            if stands:
                self.last_word = (status, said.get("message"))
            if status == "ok":
                self._tell()
                return
            if len(self.closed) < MAX_CLOSED:
                self.closed.append(Page(self.counters, self.clock(), status))
            else:
                self.closed[-1] = self.closed[-1].with_more(self.counters, status)
            self.counters, self.has_news = Counters(), False
            self.wake()

    def spend(self, tokens: Any, cost_usd: Any) -> None:
        with self.lock:
            self.counters.spend(tokens, cost_usd)

    def use(self, entry: dict[str, Any], call_id: str | None) -> None:
        """One model call; a second report of the same id is the same call."""
        with self.lock:
            if call_id is not None and not self._is_first(_unique(str(call_id), entry)):
                return
            self.counters.use(entry)

    def _is_first(self, call_id: str) -> bool:
        if call_id in self.counted:
            return False
        self.counted[call_id] = None
        if len(self.counted) > MAX_IDS:
            self.counted.popitem(last=False)
        return True

    def call(self, entry: dict[str, Any]) -> None:
        with self.lock:
            self.counters.call(entry)

    def begin(self, key: int, tool: str) -> None:
        """A tool call begins; `key` is its own until it ends."""
        with self.lock:
            self.running[key] = Doing(tool, self.clock())

    def end(self, key: int) -> None:
        with self.lock:
            self.running.pop(key, None)

    @property
    def doing(self) -> Doing | None:
        """Of the calls that run, the one that was begun last: of nested ones the innermost."""
        with self.lock:
            return next(reversed(self.running.values()), None)

    def count_calls(self, number: int) -> None:
        with self.lock:
            self.counters.tool_calls += number

    def iterate(self, count: int | None = None) -> None:
        """Set the agent's own counter, or add one to it."""
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
            self._tell()

    def take(self) -> list[Page]:
        """For the sender: the pages that are ended, if there are any, else what was counted since the last one."""
        with self.lock:
            if self.closed:
                return self.take_closed()
            status, message = self.last_word
            if message:
                self.counters.said.setdefault("message", message)
            page = Page(self.counters, self.clock(), status)
            self.counters, self.has_news = Counters(), False
            return [page]

    def take_closed(self) -> list[Page]:
        """The pages that are heartbeats of their own, oldest first."""
        with self.lock:
            pages, self.closed = self.closed, []
            return pages

    def give_back(self, counters: Counters) -> None:
        """What was too small to be reported counts on."""
        with self.lock:
            self.counters.cost += counters.spare

    def _tell(self) -> None:
        if not self.has_news:
            self.has_news = True
            self.wake()

    def forget(self) -> None:
        """In a forked child: what was counted so far is the parent's to report, its lock may be held for ever."""
        self.lock = DeferringLock()
        self.counters, self.closed, self.has_news = Counters(), [], False
        self.wait, self.wait_changed, self.prompts_changed = None, False, False
        self.running = {}


def _unique(call_id: str, entry: dict[str, Any]) -> str:
    """The id, or, where it may be another call's too, what both observers of one call agree on besides."""
    if len(call_id) >= MIN_ID_LENGTH:
        return call_id
    return f"{call_id} {entry.get('input_tokens')} {entry.get('output_tokens')}"
