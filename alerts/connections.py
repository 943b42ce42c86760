"""Open connections to receivers, kept for the next message.

Only `channels/http.py` uses one again, after it has checked the address once more, and only for the same scheme, host
and port. It lives for a minute at most, so that a changed DNS record or certificate is noticed.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

MAX_AGE_SECONDS: Final = 60.0
# Shorter than most servers keep an idle connection; an outdated one costs a reconnection.
MAX_IDLE_SECONDS: Final = 15.0
MAX_IDLE: Final = 64

Receiver = tuple[str, str, int]


@dataclass(slots=True)
class Connection:
    """An open connection to a receiver (scheme, host, port)."""

    receiver: Receiver
    raw: socket.socket
    address: str
    opened_at: float = field(default_factory=monotonic)
    used_at: float = field(default_factory=monotonic)

    def is_fresh(self) -> bool:
        now = monotonic()
        return now - self.opened_at < MAX_AGE_SECONDS and now - self.used_at < MAX_IDLE_SECONDS

    def is_quiet(self) -> bool:
        """Whether nothing has come in: what does is the end of the connection, or half of another response."""
        if isinstance(self.raw, ssl.SSLSocket) and self.raw.pending():
            return False
        poll = select.poll()  # select() takes no file numbers from 1024 on
        poll.register(self.raw, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        self.raw.close()


class Pool:
    """Idle connections, at most `MAX_IDLE`; the one used last is taken first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Connection] = []

    def take(self, receiver: Receiver) -> Connection | None:
        """An idle connection to a receiver that still works, as far as one can tell."""
        while (connection := self._pop(receiver)) is not None:
            if connection.is_fresh() and connection.is_quiet():
                return connection
            connection.close()
        return None

    def _pop(self, receiver: Receiver) -> Connection | None:
        with self._lock:
            for position in reversed(range(len(self._idle))):
                if self._idle[position].receiver == receiver:
                    return self._idle.pop(position)
        return None

    def give(self, connection: Connection) -> None:
        """Keep a connection whose response has been read to the end."""
        connection.used_at = monotonic()
        with self._lock:
            outdated = [each for each in self._idle if not each.is_fresh()]
            kept = [*(each for each in self._idle if each.is_fresh()), connection]
            outdated, self._idle = [*outdated, *kept[:-MAX_IDLE]], kept[-MAX_IDLE:]
        for each in outdated:
            each.close()

    def clear(self) -> None:
        """Close all idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for each in idle:
            each.close()
