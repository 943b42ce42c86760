"""The ASGI lane for heartbeats: the same endpoints as `heartbeats.py`, before Django's handler and DRF.

Both share everything from decoding to the outcome and have the same tests. A request waits here without a thread, for
its body as for its commit, so slow clients cost nothing but their connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from django.db import DatabaseError, connection
from django.utils import timezone

from agents.api.heartbeats import BATCH, SINGLE, Endpoint, received_from, require_json, too_large
from agents.domain.heartbeat import Beat
from agents.ingest import committer, load, rate_limit
from agents.ingest.pace import Pace
from agents.ingest.reporter import source_of
from agents.ingest.write import Outcome, Received, failed, unavailable
from billing.plans import Plan
from teams import auth
from teams.auth import Caller
from teams.errors import ApiError
from teams.own_connection import use_own_connection
from teams.request_ids import request_id_for

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
# The client's address, from the connection's and the header X-Forwarded-For.
AddressOf = Callable[[str, str], str]
T = TypeVar("T")

ENDPOINTS: Final = {"/api/v1/heartbeat": SINGLE, "/api/v1/heartbeat/batch": BATCH}
# Seconds for a client to send the rest of its body.
BODY_TIMEOUT: Final = 30.0
# Threads that look up keys and plans which are not cached.
LOOK_UPS: Final = 4
log = logging.getLogger("django.request")


def _peer(peer: str, forwarded_for: str) -> str:
    """Without proxies."""
    return peer


def heartbeat_lane(app: Asgi, address_of: AddressOf = _peer) -> Asgi:
    """Answer heartbeats; hand every other request to `app`."""

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = ENDPOINTS.get(scope.get("path", "")) if scope["type"] == "http" else None
        if endpoint is None or scope["method"] != "POST":
            await app(scope, receive, send)
        else:
            await _answer(endpoint, scope, receive, send, address_of)

    return route


async def _answer(endpoint: Endpoint, scope: Scope, receive: Receive, send: Send, address_of: AddressOf) -> None:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    request_id = request_id_for(headers.get("x-request-id", ""))
    more: Mapping[str, str] = {}
    extra = {"request_id": request_id}
    try:
        address = address_of((scope.get("client") or ("",))[0], headers.get("x-forwarded-for", ""))
        status, body = 200, await _handle(endpoint, address, headers, receive)
    except ApiError as error:
        status, body, more = error.http_status, error.encoded(), error.headers()
        log.warning("%s: %s", error.code, scope["path"], extra=extra)
    except Exception:
        log.exception("a heartbeat could not be handled", extra=extra)
        status, body = 500, failed().encoded()
    await respond(send, status, body, {"x-request-id": request_id, **more})


async def _handle(endpoint: Endpoint, address: str, headers: Mapping[str, str], receive: Receive) -> bytes:
    committer.require_room()
    key = auth.key_from(headers.get("x-api-key", ""), headers.get("authorization", ""))
    caller, plan = await _caller(key, address)
    body = await _body(headers, receive, endpoint.max_body)
    items = endpoint.decode(body)
    source = source_of(caller, address, headers.get("x-clevagent-runner", ""))
    received = received_from([item for item in items if isinstance(item, Beat)], caller, plan, source)
    return endpoint.encode(items, await _store(received))


async def _caller(raw: str | None, address: str) -> tuple[Caller, Plan]:
    """Authenticate and check the scope; the caller and its plan, mostly without the database."""
    caller = auth.cached_caller(raw, address)
    if caller is None:
        caller = await aside(lambda: auth.authenticate_key(raw, address))
    auth.require_scope(caller, "agent")
    now = timezone.now()
    plan = rate_limit.known_plan(caller, now)
    if plan is None:
        plan = await aside(lambda: rate_limit.plan_for(caller, now))
    return caller, plan


async def is_key(raw: str | None, address: str) -> bool:
    """Whether it is a key that works from that address. False also while the database cannot tell."""
    try:
        if auth.cached_caller(raw, address) is None:
            await aside(lambda: auth.authenticate_key(raw, address))
    except ApiError:
        return False
    return True


async def _body(headers: Mapping[str, str], receive: Receive, limit: int) -> bytes:
    require_json(headers.get("content-type", ""))
    declared = headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large(limit)
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await _read(receive, limit)
    except TimeoutError:
        raise ApiError(400, "bad_request", f"The body was not complete within {BODY_TIMEOUT:.0f} s.") from None


async def _read(receive: Receive, limit: int) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiError(400, "bad_request", "The body is incomplete. Send it again.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise too_large(limit)
        if not message.get("more_body"):
            return b"".join(parts)


async def respond(send: Send, status: int, body: bytes, more: Mapping[str, str]) -> None:
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-content-type-options": "nosniff",
        **more,
    }
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


# What waits, waits in other threads


async def _store(received: Sequence[Received]) -> Sequence[Outcome]:
    return await _finished().wait(received) if received else ()


async def aside(work: Callable[[], T]) -> T:
    """Run what asks the database in a thread; 503 when the database cannot answer."""

    def look_up() -> T:
        try:
            return work()
        except DatabaseError as error:
            raise unavailable(error) from None
        finally:
            connection.close_if_unusable_or_obsolete()

    return await asyncio.get_running_loop().run_in_executor(_look_ups, look_up)


_look_ups = ThreadPoolExecutor(LOOK_UPS, thread_name_prefix="look-up", initializer=use_own_connection)


class _Finished:
    """Hands outcomes from the commit threads to the event loop, those of one transaction with one wake-up."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._futures: dict[committer.Job, asyncio.Future[Sequence[Outcome]]] = {}
        self._done: deque[committer.Job] = deque()
        self._woken = False
        self._watched = False
        load.of_this_process.behind = Pace(loop).behind

    def wait(self, received: Sequence[Received]) -> asyncio.Future[Sequence[Outcome]]:
        job = committer.start(received, self._wake)
        future = self._futures[job] = self._loop.create_future()
        if not self._watched:
            self._watched = True
            self._loop.call_later(1, self._refuse_late)
        return future

    def _wake(self, job: committer.Job) -> None:
        self._done.append(job)
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._woken = False
        while self._done:
            self._settle(self._done.popleft())

    def _refuse_late(self) -> None:
        """One timer for all: requests wait in order, so the first ones are the latest."""
        late = [job for job in self._oldest() if committer.has_waited_too_long(job)]
        for job in late:
            committer.abandon(job)
            self._settle(job)
        self._watched = bool(self._futures)
        if self._watched:
            self._loop.call_later(1, self._refuse_late)

    def _oldest(self) -> Iterable[committer.Job]:
        return list(self._futures)[: committer.MAX_QUEUE]

    def _settle(self, job: committer.Job) -> None:
        future = self._futures.pop(job, None)
        if future is not None and not future.done():
            future.set_result(job.outcomes)


_finished_by_loop: dict[asyncio.AbstractEventLoop, _Finished] = {}


def _finished() -> _Finished:
    loop = asyncio.get_running_loop()
    found = _finished_by_loop.get(loop)
    if found is None:
        _finished_by_loop.clear()
        found = _finished_by_loop[loop] = _Finished(loop)
    return found
