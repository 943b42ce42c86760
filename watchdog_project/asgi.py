"""The ASGI entry point: heartbeats have a lane of their own, everything else runs in threads (`wsgi.py`).

A request gets a thread only once its body is complete, so idle connections cannot use up the threads.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

from a2wsgi import WSGIMiddleware

from watchdog_project.wsgi import MAX_BODY, MAX_TELEMETRY, PINGS, TRUSTED, max_body  # first: it sets up Django
from watchdog_project.wsgi import application as wsgi_application

# isort: split
from agents.api.heartbeat_lane import Asgi, Receive, Scope, Send, heartbeat_lane, is_key
from agents.api.stream import hub
from agents.api.stream.lane import event_lane
from agents.doors.otlp_views import key_in
from watchdog_project.forwarding import client_address

THREADS = 32
BODY_TIMEOUT = 30.0  # seconds


def read_body_first(app: Asgi) -> Asgi:
    """Hand on requests with their whole body and its length.

    Keeps at most one byte more than its path accepts, so that views answer 413. A ping's view takes the start of any
    body, so the rest is read, too: a client that cannot send it may not look at the answer.
    """

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        longest = MAX_TELEMETRY if scope.get("path", "").startswith(PINGS) else 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                body = await _read(receive, await _limit(scope), longest)
        except (TimeoutError, ConnectionError):
            await _refuse(send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name.lower() not in _FRAMING]
        headers.append((b"content-length", str(len(body)).encode()))
        await app({**scope, "headers": headers}, _receive_once(body, receive), send)

    return wrapped


async def _limit(scope: Scope) -> int:
    """The largest body in bytes. Only who has a key may make this process keep a large one."""
    limit = max_body(scope.get("path", ""))
    if limit <= MAX_BODY:
        return limit
    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    key = key_in(headers.get(b"x-api-key", ""), headers.get(b"authorization", ""))
    peer = (scope.get("client") or ("",))[0]
    address = client_address(peer, headers.get(b"x-forwarded-for", ""), trusted=TRUSTED)
    return limit if await is_key(key, address) else MAX_BODY


_FRAMING = (b"content-length", b"transfer-encoding")


async def _read(receive: Receive, limit: int, longest: int) -> bytes:
    """The body, or one byte more of it than `limit`. Up to `longest` bytes, the rest is read and dropped."""
    body, size = bytearray(), 0
    while size <= max(limit, longest):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        part = message.get("body", b"")
        size += len(part)
        body += part[: limit + 1 - len(body)]
        if not message.get("more_body"):
            break
    return bytes(body)


def _receive_once(body: bytes, receive: Receive) -> Receive:
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Any:
        return left.pop() if left else await receive()

    return next_message


async def _refuse(send: Send) -> None:
    text = b"The request was not complete in time.\n"
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", str(len(text)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 408, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def _end_streams_at_shutdown() -> None:
    """Granian waits for open responses at a signal, but tells the application nothing: do it from its own handler."""
    try:
        from granian import _signals
    except ImportError:  # another server
        return
    listen: Callable[[asyncio.AbstractEventLoop], Any] = _signals.set_loop_signals

    def set_loop_signals(loop: asyncio.AbstractEventLoop) -> Any:
        event = listen(loop)

        def stop() -> None:
            hub.end_all()
            event.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        return event

    _signals.set_loop_signals = set_loop_signals


_pages: Any = WSGIMiddleware(wsgi_application, workers=THREADS)  # type: ignore[arg-type]
_address = partial(client_address, trusted=TRUSTED)
application = event_lane(heartbeat_lane(read_body_first(_pages), _address), _address)
_end_streams_at_shutdown()
