"""Hands new events to the open streams of this process: one task asks the database once a second for all of them.

A stream has a queue. One whose client reads too slowly is ended; it resumes where it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from agents.api import heartbeat_lane
from agents.models import StreamEvent
from agents.storage import event_stream
from teams.auth import Caller
from teams.errors import ApiError

INTERVAL: Final = 1.0  # seconds
# Events that wait for a slow client.
MAX_WAITING: Final = 1_000
# One team must not use up what the process has for all.
MAX_PER_KEY, MAX_PER_TEAM, MAX_STREAMS = 10, 100, 1_000
PAGE: Final = 1_000
log = logging.getLogger("django.request")


class Stream:
    """One open stream of a project. `events` gives None once it has ended."""

    def __init__(self, caller: Caller) -> None:
        self.project_id, self.key_id, self.team_id = caller.project_id, caller.key_id, caller.team_id
        self.has_ended = False
        self.events: asyncio.Queue[Sequence[StreamEvent] | None] = asyncio.Queue()
        self._waiting = 0

    def offer(self, events: Sequence[StreamEvent]) -> None:
        self._waiting += len(events)
        if self._waiting > MAX_WAITING:
            self.end()
        elif not self.has_ended:
            self.events.put_nowait(events)

    async def next(self, seconds: float) -> Sequence[StreamEvent] | None:
        """What has come, nothing after so many seconds, None at the end."""
        if self.has_ended:
            return None
        try:
            events = await asyncio.wait_for(self.events.get(), seconds)
        except TimeoutError:
            return ()
        self._waiting -= len(events or ())
        return None if self.has_ended else events

    def end(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self.events.put_nowait(None)


class Hub:
    """The streams of one event loop."""

    def __init__(self) -> None:
        self.streams: set[Stream] = set()
        self.is_closed = False
        self._last: int | None = None
        self._task: asyncio.Task[None] | None = None

    def open(self, caller: Caller) -> Stream:
        """Raises ApiError 429 when the key or its team has too many streams, 503 when this process has."""
        if self.is_closed or len(self.streams) >= MAX_STREAMS:
            raise ApiError(503, "overloaded", "Too many event streams. Try again soon.", retry_after=10)
        if sum(stream.key_id == caller.key_id for stream in self.streams) >= MAX_PER_KEY:
            raise _too_many(f"This key has {MAX_PER_KEY} event streams. Close one, or use another key.")
        if sum(stream.team_id == caller.team_id for stream in self.streams) >= MAX_PER_TEAM:
            raise _too_many(f"This team has {MAX_PER_TEAM} event streams. Close one.")
        stream = Stream(caller)
        self.streams.add(stream)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        return stream

    def close(self, stream: Stream) -> None:
        stream.end()
        self.streams.discard(stream)

    def end_all(self) -> None:
        """At shutdown: the server waits until all streams have ended."""
        self.is_closed = True
        for stream in self.streams:
            stream.end()

    async def _run(self) -> None:
        """Ends with the last stream; what happens without one is read by the next."""
        self._last = None
        try:
            while self.streams:
                await self._guarded(self._look)
                await asyncio.sleep(INTERVAL)
        finally:
            self._task = None

    async def _guarded(self, look: Callable[[], Awaitable[None]]) -> None:
        try:
            await look()
        except ApiError as error:  # the database is away; nothing is lost
            log.warning("event streams wait: %s", error.code)
        except Exception:
            log.exception("event streams could not be read")

    async def _look(self) -> None:
        last = self._last
        # Of all projects: a stream that opens meanwhile must not miss what is read now.
        events, self._last = await heartbeat_lane.aside(lambda: _read(last))
        by_project: dict[int, list[StreamEvent]] = defaultdict(list)
        for event in events:
            by_project[event.project_id].append(event)
        for stream in self.streams:
            if stream.project_id in by_project:
                stream.offer(by_project[stream.project_id])


def _too_many(message: str) -> ApiError:
    return ApiError(429, "too_many_streams", message, retry_after=10)


def _read(last: int | None) -> tuple[list[StreamEvent], int]:
    """The events after `last` and the number up to which they are read. Without `last`: none, up to now."""
    event_stream.number()
    newest = event_stream.newest()
    if last is None or newest <= last:
        return [], newest if last is None else last
    events = event_stream.after(last, PAGE)
    return events, (events[-1].number or last) if len(events) == PAGE else newest


_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}


def hub() -> Hub:
    """The hub of the running loop."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs.clear()
        _hubs[loop] = Hub()
    return _hubs[loop]


def end_all() -> None:
    """End all streams of this process. Call it in the thread of the loop."""
    for each in _hubs.values():
        each.end_all()
