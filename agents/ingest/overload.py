"""What a web process does when heartbeats come faster than it stores them: first it sheds detail, then it refuses.

Without their messages and tool logs heartbeats cost less to store, and liveness and sums are kept. When that is not
enough, clients are asked to come back later while the queue is still short: each heartbeat that is taken is answered
before its client gives up and sends it again, so the server always does useful work, however many come. Pure.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from teams.errors import ApiError

# Seconds that a heartbeat arriving now would wait. An embedded installation waits for half a second now and then, while
# it sums up; nothing is shed for that.
SHED_AFTER: Final = 1.0
# Published clients give up after 5 s: what is taken is to be answered well before.
REFUSE_AFTER: Final = 2.5
CODE: Final = "overloaded"
# Seconds after which a refused client may come back: spread, so that they don't all return at once.
MIN_RETRY: Final = 5
MAX_RETRY: Final = 10


class Stage(IntEnum):
    """How much of a heartbeat is taken: all, its liveness and sums, or nothing for now."""

    ALL = 0
    SUMS = 1
    NOTHING = 2


def stage(waited: float) -> Stage:
    """The stage of a process in which heartbeats wait for so many seconds."""
    if waited >= REFUSE_AFTER:
        return Stage.NOTHING
    return Stage.SUMS if waited >= SHED_AFTER else Stage.ALL


class OverloadError(ApiError):
    """429 with `Retry-After`, and as `interval` the shortest time between heartbeats that is welcome meanwhile."""

    def __init__(self, retry_after: int) -> None:
        message = f"The server is overloaded. Send it again in {retry_after} s; your deadline is extended."
        super().__init__(429, CODE, message, retry_after=retry_after)

    def body(self) -> dict[str, Any]:
        return {**super().body(), "interval": self.retry_after}


def refusal(number: int) -> OverloadError:
    """The answer to the `number`-th request that is refused."""
    return OverloadError(MIN_RETRY + number % (MAX_RETRY - MIN_RETRY + 1))
