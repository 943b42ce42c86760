"""What web processes count together, exchanged through Redis once a second: requests per key and minute.

No request waits for it, and no heartbeat costs a statement. Between two exchanges each process admits what its own
count allows, so together they admit at most a second's requests or two of each beyond a limit. While Redis is away,
each process counts for itself. On SQLite there is one web process, which needs none of this.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from django.conf import settings
from django.utils import timezone
from redis import Redis, RedisError

from agents.ingest import rate_limit

EXCHANGE_SECONDS: Final = 1.0
# Longer than a minute's counts are of use, so that Redis forgets them.
KEPT_SECONDS: Final = 180
log = logging.getLogger(__name__)


def start() -> None:
    """Exchange counts from now on, in a thread; also in forked children."""
    if settings.REDIS_URL:
        threading.Thread(target=_exchange_forever, name="shared-counts", daemon=True).start()
        _restart_in_forked_children()


@cache
def _restart_in_forked_children() -> None:
    """Cached, because children inherit the hook and must not register it again."""
    os.register_at_fork(after_in_child=start)


def _exchange_forever() -> None:
    redis = Redis.from_url(settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=2)
    never = threading.Event()
    while not never.wait(EXCHANGE_SECONDS):
        exchange_once(redis)


def exchange_once(redis: Any, meter: rate_limit.Meter | None = None) -> None:
    """Never raises: what could not be reported is reported the next time."""

    def add(minute: int, counts: Mapping[str, int]) -> Mapping[str, int]:
        return _add(redis, minute, counts)

    try:
        (meter or rate_limit.of_this_process).share(add, timezone.now())
    except (RedisError, OSError) as error:
        log.warning("Redis did not answer, this process counts for itself: %s", type(error).__name__)


def _add(redis: Any, minute: int, counts: Mapping[str, int]) -> Mapping[str, int]:
    pipeline = redis.pipeline(transaction=False)
    for name, count in counts.items():
        key = f"watchdog:requests:{minute}:{name}"
        pipeline.incrby(key, count)
        pipeline.expire(key, KEPT_SECONDS)
    return dict(zip(counts, pipeline.execute()[::2], strict=True))
