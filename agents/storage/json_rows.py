"""Sets of rows by one statement, for PostgreSQL and SQLite.

On PostgreSQL a statement takes the whole set as one JSON parameter: 4 µs per row, against 36 µs with arrays. On SQLite
a statement runs for each row.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from django.db import connection
from django.db.backends.utils import CursorWrapper

from agents.storage import sqlite_rows

POSTGRESQL: Final = "postgresql"


def having(table: str, agent_ids: Collection[int], condition: str, *values: Any) -> set[int]:
    """Which of these agents have such rows in a table.

    For reviews, whose agents mostly have none: Django takes longer to build the query for the rows than the database
    takes to say that there are none.
    """
    sql = f"SELECT DISTINCT agent_id FROM {table} WHERE agent_id {among()} AND {condition}"
    with connection.cursor() as cursor:
        cursor.execute(sql, [as_ids(agent_ids), *map(_plain, values)])
        return {agent_id for (agent_id,) in cursor.fetchall()}


def update_rows(table: str, keys: dict[str, str], types: dict[str, str], rows: list[Any]) -> None:
    """Write these columns of a table's rows, each given with its key columns. Both come with their types."""
    if not on_postgresql():
        sqlite_rows.update(table, list(keys), types, rows)
        return
    with connection.cursor() as cursor:
        cursor.execute(update_sql(table, keys, types), [as_json(rows)])


def update_sql(table: str, keys: dict[str, str], types: dict[str, str], source: str = "%s") -> str:
    """The statement of `update_rows`, for PostgreSQL. `source` is the SQL of the rows as JSON."""
    sets = ", ".join(f"{name} = b.{name}" for name in types)
    same = " AND ".join(f"t.{name} = b.{name}" for name in keys)
    return f"UPDATE {table} AS t SET {sets} FROM {rows_of({**keys, **types}, source)} AS b WHERE {same}"


def insert_rows(table: str, key: str, types: dict[str, str], rows: list[dict[str, Any]]) -> list[int]:
    """Insert these rows, numbered by `i`. Returns their primary keys in the same order.

    Keys grow in the order in which rows are inserted, which ORDER BY determines; RETURNING promises no order.
    """
    if not on_postgresql():
        return sqlite_rows.insert_new(table, key, types, rows)
    names, source = ", ".join(types), rows_of({"i": "int", **types})
    sql = f"INSERT INTO {table} ({names}) SELECT {names} FROM {source} AS b ORDER BY b.i RETURNING {key}"
    with connection.cursor() as cursor:
        cursor.execute(sql, [as_json(rows)])
        return sorted(pk for (pk,) in cursor.fetchall())


def upsert_rows(
    table: str, unique: Sequence[str], types: dict[str, str], rows: list[Any], *, touched: Sequence[str] = ()
) -> None:
    """Insert these rows; of those that exist by their `unique` columns, write the `touched` ones, else all others."""
    keys = ", ".join(unique)
    sets = ", ".join(f"{name} = excluded.{name}" for name in touched or types if name not in unique)
    on_conflict = f"ON CONFLICT ({keys}) DO UPDATE SET {sets}"
    if not on_postgresql():
        sqlite_rows.insert(table, types, rows, on_conflict)
        return
    with connection.cursor() as cursor:
        cursor.execute(f"{insert_sql(table, types)} {on_conflict}", [as_json(rows)])


def insert_sql(table: str, types: dict[str, str], source: str = "%s") -> str:
    """A statement that inserts rows, for PostgreSQL. `source` is the SQL of the rows as JSON."""
    names = ", ".join(types)
    return f"INSERT INTO {table} ({names}) SELECT {names} FROM {rows_of(types, source)} AS b"


def among() -> str:
    """SQL for "is one of", whose parameter is `as_ids`."""
    return "= ANY(%s)" if on_postgresql() else "IN (SELECT value FROM json_each(%s))"


def as_ids(agent_ids: Collection[int]) -> list[int] | str:
    """The parameter of `among`."""
    ids = list(agent_ids)
    return ids if on_postgresql() else as_json(ids)


def _plain(value: Any) -> Any:
    return as_time(value) if isinstance(value, datetime) else value


def rows_of(types: dict[str, str], source: str = "%s") -> str:
    """SQL that turns a JSON list into rows; on SQLite of plain columns only."""
    if on_postgresql():
        columns = ", ".join(f"{name} {kind}" for name, kind in types.items())
        return f"(SELECT * FROM jsonb_to_recordset({source}::jsonb) AS r({columns}))"
    parts = ", ".join(f"value ->> '$.{name}' AS {name}" for name in types)
    return f"(SELECT {parts} FROM json_each(%s))"


def on_postgresql() -> bool:
    return connection.vendor == POSTGRESQL


def open_cursor() -> CursorWrapper:
    """On PostgreSQL, a cursor that prepares its statements on the server; Django's own binds on the client."""
    if not on_postgresql():
        return connection.cursor()
    from agents.storage.prepared import prepared_cursor  # needs psycopg, which SQLite installations never load

    return prepared_cursor()


def as_json(rows: Any) -> str:
    """Rows as the parameter of `rows_of`."""
    return msgspec.json.encode(rows).decode()


def as_time(value: datetime) -> datetime | str:
    """A time as a parameter."""
    return value if on_postgresql() else sqlite_rows.as_text(value)


def from_json(value: Any) -> Any:
    """Django does not decode JSON columns in raw queries."""
    return msgspec.json.decode(value) if isinstance(value, str) else value


def aware(value: Any) -> Any:
    """SQLite's driver returns naive times, which are UTC."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
