"""A database cursor that prepares its statements, for the hot path on PostgreSQL."""

from __future__ import annotations

from typing import Any, cast

from django.db import connection
from django.db.backends.postgresql.base import ServerBindingCursor
from django.db.backends.utils import CursorWrapper


class PreparedCursor(ServerBindingCursor):  # type: ignore[misc, unused-ignore]
    """Plans each statement once per connection. Requires a `prepare_threshold` in the database's OPTIONS."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        return super().execute(query, params, prepare=True, **options)  # type: ignore[misc]


def prepared_cursor() -> CursorWrapper:
    """A cursor of the current thread's connection, with Django's error handling and query log."""
    connection.ensure_connection()
    cursor: Any = cast("Any", PreparedCursor)(connection.connection)
    wrap = connection.make_debug_cursor if connection.queries_logged else connection.make_cursor
    return wrap(cursor)
