"""The ASGI lane for `GET /api/v1/events`: a stream waits here without a thread and without a database connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from functools import partial
from time import monotonic
from typing import Final
from urllib.parse import parse_qs

from django.utils import timezone

from agents.api import heartbeat_lane
from agents.api.heartbeat_lane import AddressOf, Asgi, Receive, Scope, Send
from agents.api.stream import feed
from agents.api.stream.hub import Hub, Stream, hub
from agents.ingest import rate_limit
from agents.ingest.write import failed
from teams import auth
from teams.auth import Caller
from teams.errors import ApiError

PATH: Final = "/api/v1/events"
# Seconds: between comments, between looks at the key, and for a client to take what is sent.
COMMENT_EVERY: Final = 15.0
CHECK_EVERY: Final = 5.0
SEND_TIMEOUT: Final = 30.0
# Without the last one, nginx would collect the events.
HEADERS: Final = {"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
log = logging.getLogger("django.request")


def event_lane(app: Asgi, address_of: AddressOf) -> Asgi:
    """Answer requests for the event stream; hand every other request to `app`."""

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("path") == PATH and scope["method"] == "GET":
            await _answer(scope, receive, send, address_of)
        else:
            await app(scope, receive, send)

    return route


async def _answer(scope: Scope, receive: Receive, send: Send, address_of: AddressOf) -> None:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    address = address_of((scope.get("client") or ("",))[0], headers.get("x-forwarded-for", ""))
    key = auth.key_from(headers.get("x-api-key", ""), headers.get("authorization", ""))
    try:
        caller = await _caller(key, address, is_new=True)
        wanted = await heartbeat_lane.aside(lambda: _wanted(caller, scope, headers))
        streams = hub()
        stream = streams.open(caller)
    except ApiError as error:
        await heartbeat_lane.respond(send, error.http_status, error.encoded(), error.headers())
        return
    except Exception:
        log.exception("an event stream could not be opened")
        await heartbeat_lane.respond(send, 500, failed().encoded(), {})
        return
    await _serve(streams, stream, _Sending(send, wanted, key, address), receive)


async def _caller(key: str | None, address: str, *, is_new: bool = False) -> Caller:
    """Raises ApiError when the key is not, or no longer, allowed to read."""
    caller = auth.cached_caller(key, address)
    if caller is None:
        caller = await heartbeat_lane.aside(lambda: auth.authenticate_key(key, address))
    auth.require_scope(caller, "read", reading=True)
    if is_new:
        known = caller
        await heartbeat_lane.aside(lambda: rate_limit.count_call(known, timezone.now()))
    return caller


def _wanted(caller: Caller, scope: Scope, headers: Mapping[str, str]) -> feed.Wanted:
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"), encoding="utf-8", errors="replace")
    agent = query.get("agent", [""])[0]
    if "\0" in agent:
        raise ApiError(422, "invalid", "agent: contains a NUL character", fields={"agent": "contains a NUL character"})
    return feed.wanted(caller.project_id, agent, headers.get("last-event-id", ""))


async def _serve(streams: Hub, stream: Stream, sending: _Sending, receive: Receive) -> None:
    gone = asyncio.ensure_future(_until_gone(receive, stream))
    try:
        await sending.run(stream)
    except (TimeoutError, ApiError, OSError):
        pass  # it reads too slowly, its key was revoked, it is gone, or the database is away: it may resume
    except Exception:
        log.exception("an event stream ended")
    finally:
        streams.close(stream)
        gone.cancel()
        with contextlib.suppress(Exception):
            await sending.finish()


async def _until_gone(receive: Receive, stream: Stream) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.end()


class _Sending:
    """Sends a stream: what the client missed, then what happens."""

    def __init__(self, send: Send, wanted: feed.Wanted, key: str | None, address: str) -> None:
        self._send, self._wanted, self._key, self._address = send, wanted, key, address
        self._last = 0
        self._sent_at = self._checked_at = monotonic()

    async def run(self, stream: Stream) -> None:
        # The stream is open already, so what is numbered from here on reaches its queue, and is sent once.
        pairs = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": pairs})
        wanted = self._wanted
        self._last, text = await heartbeat_lane.aside(lambda: feed.begin(wanted))
        await self._write(text)
        await self._catch_up(stream)
        while (events := await stream.next(CHECK_EVERY)) is not None:
            new = [event for event in events if (event.number or 0) > self._last]
            if new:
                self._last = new[-1].number or self._last
                await self._write(feed.text_of(new, wanted.agent_id))
            await self._keep_alive()

    async def _catch_up(self, stream: Stream) -> None:
        wanted = self._wanted
        while not stream.has_ended:
            events = await heartbeat_lane.aside(partial(feed.page, wanted, self._last))
            if events:
                self._last = events[-1].number or self._last
                await self._write(feed.text_of(events, wanted.agent_id))
            if len(events) < feed.PAGE:
                return

    async def _keep_alive(self) -> None:
        """Raises ApiError once the key is revoked."""
        now = monotonic()
        if now - self._checked_at >= CHECK_EVERY:
            self._checked_at = now
            await _caller(self._key, self._address)
        if now - self._sent_at >= COMMENT_EVERY - CHECK_EVERY / 2:
            await self._write(feed.COMMENT)

    async def _write(self, text: str) -> None:
        if text:
            self._sent_at = monotonic()
            async with asyncio.timeout(SEND_TIMEOUT):
                await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})

    async def finish(self) -> None:
        async with asyncio.timeout(1):
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
