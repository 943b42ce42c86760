"""A webhook receiver on this machine, which writes down what arrives and when."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arrival:
    """A webhook as it arrived; `at` is seconds since 1970."""

    at: float
    message_id: str
    type: str
    incident: int


class Hook(asyncio.Protocol):
    """Answers 204 to every request of a connection."""

    def __init__(self, arrivals: list[Arrival]) -> None:
        self.arrivals, self.received = arrivals, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, rest = self.received.partition(b"\r\n\r\n")
        headers = {name.lower(): value.strip() for name, _, value in map(split_header, head.split(b"\r\n")[1:])}
        length = int(headers.get(b"content-length", b"0"))
        if not end or len(rest) < length:
            return
        self.received = rest[length:]
        self.note(headers.get(b"webhook-id", b"").decode(), json.loads(rest[:length]))
        self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        if headers.get(b"connection", b"").lower() == b"close":
            self.transport.close()

    def note(self, message_id: str, body: dict[str, dict[str, dict[str, int]]]) -> None:
        incident = body["data"].get("incident") or {}
        self.arrivals.append(Arrival(time.time(), message_id, str(body["type"]), incident.get("id", 0)))


def split_header(line: bytes) -> tuple[bytes, bytes, bytes]:
    return line.partition(b":")


@contextlib.contextmanager
def receiver() -> Iterator[tuple[str, list[Arrival]]]:
    """A webhook receiver on this machine: its address, and what has arrived so far."""
    arrivals: list[Arrival] = []
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: Hook(arrivals), "127.0.0.1", 0, backlog=1024))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", arrivals
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.close()
