"""PostgreSQL partitions heartbeats by day: made ahead, and dropped when no plan keeps their day.

Both lock the whole table for a moment. When that is not possible within a second, because a long query reads it, the
next run tries again: heartbeats would queue behind a lock that waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Final

import structlog
from django.db import OperationalError, ProgrammingError, connection, transaction
from django.db.backends.utils import CursorWrapper

log = structlog.get_logger(__name__)
# Longer than the longest time without a worker that is likely.
DAYS_AHEAD: Final = 7
LOCK_TIMEOUT: Final = "1s"
_NAMES: Final = "SELECT relname FROM pg_class WHERE relname LIKE 'agents_heartbeat_2%%' AND relkind = 'r'"


def make(today: date) -> None:
    """Create the partitions of today and the coming days, except of days with rows in the default partition."""
    if not _is_partitioned():
        return
    existing = set(_names())
    for day in (today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD)):
        if _name(day) not in existing:
            with _briefly_locked() as cursor:
                _create(cursor, day)


def drop(before: date) -> None:
    """Drop the partitions of all days before this one."""
    if not _is_partitioned():
        return
    for name in _names():
        if name < _name(before):
            with _briefly_locked() as cursor:
                cursor.execute(f"DROP TABLE IF EXISTS {name}")


def _is_partitioned() -> bool:
    return connection.vendor == "postgresql"


def _name(day: date) -> str:
    return f"agents_heartbeat_{day:%Y_%m_%d}"


def _names() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(_NAMES)
        return [name for (name,) in cursor.fetchall()]


@contextmanager
def _briefly_locked() -> Iterator[CursorWrapper]:
    """A transaction that gives up instead of waiting for a lock, or when another worker was faster."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            yield cursor
    except (OperationalError, ProgrammingError) as error:
        log.warning("a partition was left for later", error=str(error))


def _create(cursor: CursorWrapper, day: date) -> None:
    cursor.execute("SELECT EXISTS (SELECT 1 FROM agents_heartbeat_default WHERE day = %s)", [day])
    (is_in_default,) = cursor.fetchone() or (False,)
    if not is_in_default:
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {_name(day)} PARTITION OF agents_heartbeat "
            f"FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
        )
