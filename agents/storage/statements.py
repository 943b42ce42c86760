"""The SQL of the hot path, for PostgreSQL and SQLite: lock and read, write, and a project's month.

On PostgreSQL each statement takes the whole batch as one JSON parameter: 4 µs per row, against 36 µs with arrays. They
are prepared: planning took half of the database's time for a lone heartbeat. On SQLite a statement runs for each row.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec
from django.db import connection
from django.db.backends.utils import CursorWrapper

from agents.domain.hot_row import Hot
from agents.domain.money import MICRO
from agents.storage import sqlite_rows

# Hot-row columns that a heartbeat writes: column -> PostgreSQL type. `tests/contracts/test_hot_row.py` checks them.
WRITTEN: Final[dict[str, str]] = {
    "check_at": "timestamptz",
    "beats": "bigint",
    "last_beat_at": "timestamptz",
    "last_progress_at": "timestamptz",
    "usual_gap": "float8",
    "quiet_until": "timestamptz",
    "declared_interval": "float8",
    "declared_progress_timeout": "float8",
    "waiting_for": "text",
    "waiting_until": "timestamptz",
    "reported": "text",
    "crashed": "boolean",
    "iteration": "bigint",
    "message_hash": "bigint",
    "prompts_hash": "bigint",
    "calls_hash": "bigint",
    "memory_mb": "float8",
    "instance": "text",
    "instances": "jsonb",
    "body_hash": "bigint",
    "body_at": "timestamptz",
    "stored_after": "float8",
    "day": "date",
    "tokens_today": "bigint",
    "cost_today": "bigint",
    "priced_today": "bigint",
    "unpriced": "jsonb",
    "cost_limit": "bigint",
    "month": "date",
    "tokens_month": "bigint",
    "cost_month": "bigint",
    "priced_month": "bigint",
    "unpriced_month": "bigint",
    "tokens_total": "bigint",
    "cost_total": "bigint",
    "priced_total": "bigint",
    "unpriced_total": "bigint",
    "run_at": "timestamptz",
    "run_cost": "bigint",
    "run_priced": "bigint",
    "run_unpriced": "bigint",
    "source": "text",
    "runner": "text",
    "runner_at": "timestamptz",
    "runner_down": "boolean",
    "held": "boolean",
    "restart_type": "text",
    "restart_target": "text",
    "warned": "text",
}
# Hot-row columns that the review writes.
CONCLUDED: Final[dict[str, str]] = {
    "check_at": "timestamptz",
    "planned_at": "timestamptz",
    "reviewed_at": "timestamptz",
    "quiet_until": "timestamptz",
    "learned_progress_timeout": "float8",
    "status": "text",
    "incident_id": "bigint",
    "incident_kind": "text",
    "warnings": "jsonb",
    "hold": "boolean",
    "waiting_until": "timestamptz",
    "lifted": "jsonb",
}
# Hot-row columns that only people write.
BY_PEOPLE: Final = ("hold_reason",)
_SETTINGS: Final = (
    "interval",
    "grace",
    "progress_timeout",
    "daily_budget_usd",
    "run_budget_usd",
    "daily_token_limit",
    "paused_at",
    "over_plan_at",
    "restart_policy",
    "restart_type",
    "labels",
)
HEARTBEAT: Final[dict[str, str]] = {
    "agent_id": "bigint",
    "day": "date",
    "received_at": "timestamptz",
    "spent_at": "timestamptz",
    "beat_id": "text",
    "status": "text",
    "progress": "boolean",
    "tokens": "bigint",
    "cost": "bigint",
    "priced": "bigint",
    "unpriced": "bigint",
    "tool_calls": "int",
    "iteration": "bigint",
    "memory_mb": "float8",
    "gap": "float8",
    "content": "jsonb",
    "answer": "jsonb",
}
# Heartbeat columns that repricing writes.
_PRICED: Final = {name: HEARTBEAT[name] for name in ("cost", "priced", "unpriced", "content")}
# How long after its first try a client may resend a heartbeat; our client says when it was created.
RESEND_DAYS: Final = timedelta(days=2)
POSTGRESQL: Final = "postgresql"
_WANTED: Final = {"i": "int", "project_id": "bigint", "name": "text", "beat_id": "text"}
# Only joined for heartbeats with an id, which costs a look-up in each day's partition.
NOT_STORED_BEFORE: Final = "LEFT JOIN agents_heartbeat h ON false"
STORED_BEFORE: Final = """LEFT JOIN agents_heartbeat h
            ON h.agent_id = n.agent_id AND h.beat_id = b.beat_id AND h.day BETWEEN %s AND %s"""

# What the clocks of an agent depend on: columns of the hot row, the agent and the project, in the order of `CalmRow`.
_CLOCKS: Final = (
    "s.agent_id",
    "s.beats",
    "s.last_beat_at",
    "s.last_progress_at",
    "s.usual_gap",
    "s.learned_progress_timeout",
    "s.quiet_until",
    "s.declared_interval",
    "s.declared_progress_timeout",
    "s.waiting_until",
    "s.reviewed_at",
    "a.interval",
    "a.grace",
    "a.progress_timeout",
    "a.resumed_at",
    "p.default_grace",
)

# How far back a review reads heartbeats: agents that were not reviewed for a day are rare.
READ_BACK: Final = timedelta(days=1)
# The first heartbeat not read yet that says more than that the agent exists. Its LIMIT keeps PostgreSQL from joining
# all heartbeats of two days.
_TELLING: Final = """
    SELECT h.id FROM agents_heartbeat h
    WHERE h.agent_id = s.agent_id AND h.id > m.read_to AND h.day >= %s AND (
        h.progress OR h.status <> 'ok' OR h.tokens > 0 OR h.cost > 0 OR h.tool_calls > 0
        OR h.memory_mb IS NOT NULL OR h.content IS NOT NULL
    )
    LIMIT 1
"""

_hot_decoder = msgspec.json.Decoder(Hot)
HOT_COLUMNS: Final = ("agent_id", *WRITTEN, *(name for name in CONCLUDED if name not in WRITTEN), *BY_PEOPLE)


class LockedAgent(NamedTuple):
    """One heartbeat's agent: its hot row, its settings, and whether this heartbeat is stored already."""

    hot: Hot
    interval: float | None
    grace: float | None
    progress_timeout: float | None
    daily_budget: int | None
    run_budget: int | None
    daily_tokens: int | None
    paused: bool
    over_plan: bool
    armed: bool
    labels: dict[str, str]
    # `AgentName.bound_to` of the name that the heartbeat was sent under.
    owner: int | None
    stored_before: bool
    answer_before: Any


class CalmRow(msgspec.Struct):
    """What the clocks of an agent depend on that only time concerns."""

    agent_id: int
    beats: int
    last_beat_at: datetime | None
    last_progress_at: datetime | None
    usual_gap: float | None
    learned_progress_timeout: float | None
    quiet_until: datetime | None
    declared_interval: float | None
    declared_progress_timeout: float | None
    waiting_until: datetime | None
    reviewed_at: datetime
    interval: float | None
    grace: float | None
    progress_timeout: float | None
    resumed_at: datetime | None
    default_grace: float | None


def lock_calm(now: datetime, *, reviewed_after: datetime, most: int, skip: int) -> list[CalmRow]:
    """Lock agents that are due only because their planned time has come, first ones first, without waiting.

    Left out are those with heartbeats that tell rules something, those that somebody wants to be reviewed, and those
    whose last review is too long ago. `skip` so many that were left where they were.
    """
    since = now.date() - READ_BACK
    with connection.cursor() as cursor:
        values = [_time(now), _time(reviewed_after), _time(now), since.isoformat(), most, skip]
        cursor.execute(_calm_sql(connection.vendor), values)
        return [CalmRow(*map(_aware, row)) for row in cursor.fetchall()]


@cache
def _calm_sql(vendor: str) -> str:
    return f"""
        SELECT {", ".join(_CLOCKS)}
        FROM agents_agentstate s
        JOIN agents_agent a ON a.id = s.agent_id
        JOIN teams_project p ON p.id = a.project_id
        JOIN agents_agentmemory m ON m.agent_id = s.agent_id
        WHERE s.check_at <= %s AND s.planned_at = s.check_at
            AND a.kind = 'agent' -- a job's next deadline depends on its schedule
            AND s.reviewed_at > %s AND s.reviewed_at <= %s
            AND NOT EXISTS (SELECT 1 FROM agents_unread u WHERE u.agent_id = s.agent_id)
            AND ({_TELLING}) IS NULL
        ORDER BY s.check_at LIMIT %s OFFSET %s {"FOR UPDATE OF s SKIP LOCKED" if vendor == POSTGRESQL else ""}
    """


def move(times: dict[int, datetime]) -> None:
    """Write when agents are reviewed next, as planned."""
    rows = [{"agent_id": pk, "check_at": at, "planned_at": at} for pk, at in times.items()]
    _update({name: CONCLUDED[name] for name in ("check_at", "planned_at")}, rows)


def lock(wanted: list[dict[str, Any]], today: date, sent: date | None = None) -> dict[int, LockedAgent]:
    """Lock the agents of `wanted` ({"i", "project_id", "name", "beat_id"}) that nobody else has locked; by `i`.

    Left out are names without an agent (see `existing`), and agents whose row is locked: heartbeats never wait for a
    review. `sent` is the day of the oldest heartbeat: no copy of it can be older.
    """
    values, with_ids = [_json(wanted)], any(each["beat_id"] for each in wanted)
    if with_ids:
        since = min(today, sent or today) - RESEND_DAYS
        values += [since.isoformat(), today.isoformat()]
    with _cursor() as cursor:
        cursor.execute(_lock_sql(connection.vendor, STORED_BEFORE if with_ids else NOT_STORED_BEFORE), values)
        return {index: _locked_agent(row) for index, *row in cursor.fetchall()}


def existing(wanted: list[dict[str, Any]]) -> set[int]:
    """Which of `wanted` name an agent that exists, by `i`."""
    with _cursor() as cursor:
        cursor.execute(_existing_sql(connection.vendor), [_json(wanted)])
        return {index for (index,) in cursor.fetchall()}


@cache
def _lock_sql(vendor: str, stored_before: str) -> str:
    """PostgreSQL returns the hot row as JSON text: msgspec decodes it in a tenth of the time of separate columns."""
    select = ", ".join(f"a.{name}" for name in _SETTINGS)
    hot = "row_to_json(s)::text" if vendor == POSTGRESQL else ", ".join(f"s.{name}" for name in HOT_COLUMNS)
    return f"""
        SELECT b.i, {select}, n.bound_to, h.id, h.answer, {hot}
        FROM {_rows_of(_WANTED)} AS b
        JOIN agents_agentname n ON n.project_id = b.project_id AND n.name = b.name
        JOIN agents_agent a ON a.id = n.agent_id
        JOIN agents_agentstate s ON s.agent_id = n.agent_id
        {stored_before}
        ORDER BY s.agent_id, b.i {"FOR UPDATE OF s SKIP LOCKED" if vendor == POSTGRESQL else ""}
    """


@cache
def _existing_sql(vendor: str) -> str:
    return f"""
        SELECT b.i FROM {_rows_of(_WANTED)} AS b
        JOIN agents_agentname n ON n.project_id = b.project_id AND n.name = b.name
    """


def months(project_ids: Sequence[int], first: date) -> list[tuple[int, int, str, int]]:
    """For projects with a monthly budget: id, budget, its level (see `MonthSpend`), and the spend of all agents.

    Raw SQL, because Django takes longer to build this query than the database takes to answer it.
    """
    sql = f"""
        SELECT p.id, p.monthly_budget_usd, COALESCE(m.level, ''), COALESCE(m.cost, 0) + COALESCE((
            SELECT SUM(s.cost_month) FROM agents_agentstate s JOIN agents_agent a ON a.id = s.agent_id
            WHERE a.project_id = p.id AND s.month = %s), 0)
        FROM teams_project p
        LEFT JOIN agents_monthspend m ON m.project_id = p.id AND m.month = %s
        WHERE p.monthly_budget_usd IS NOT NULL AND p.id IN ({", ".join(["%s"] * len(project_ids))})
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [first, first, *project_ids])
        return [(pk, _micros(usd) or 0, level, int(cost)) for pk, usd, level, cost in cursor.fetchall()]


class Changes(msgspec.Struct):
    """What one transaction of heartbeats writes: hot rows, heartbeats, and the agents that the review must look at."""

    hot: list[Hot]
    beats: list[dict[str, Any]]
    unread: list[dict[str, int]]


def write(changes: Changes) -> None:
    """Write a batch of heartbeats, on PostgreSQL in one statement.

    Raises IntegrityError when a concurrent transaction stored one with the same `beat_id`.
    """
    if _on_postgresql():
        with _cursor() as cursor:
            cursor.execute(_write_sql(), [msgspec.json.encode(changes).decode()])
        return
    sqlite_rows.update("agents_agentstate", ["agent_id"], WRITTEN, changes.hot)
    sqlite_rows.insert("agents_heartbeat", HEARTBEAT, changes.beats)
    sqlite_rows.insert("agents_unread", {"agent_id": "bigint"}, changes.unread, "ON CONFLICT DO NOTHING")


@cache
def _write_sql() -> str:
    return f"""
        WITH batch AS (SELECT %s::jsonb AS given),
        hot AS ({_update_sql(WRITTEN, "(SELECT given -> 'hot' FROM batch)")}),
        unread AS ({_mark_sql("(SELECT given -> 'unread' FROM batch)")})
        {_insert_sql("(SELECT given -> 'beats' FROM batch)")}
    """


def save_outcomes(rows: list[dict[str, Any]]) -> None:
    """Write a review's results: `agent_id` and the columns of `CONCLUDED`."""
    _update(CONCLUDED, rows)


def _update(types: dict[str, str], rows: list[Any]) -> None:
    if not _on_postgresql():
        sqlite_rows.update("agents_agentstate", ["agent_id"], types, rows)
        return
    with connection.cursor() as cursor:
        cursor.execute(_update_sql(types), [_json(rows)])


def _update_sql(types: dict[str, str], source: str = "%s") -> str:
    sets = ", ".join(f"{name} = b.{name}" for name in types)
    return f"""
        UPDATE agents_agentstate AS s SET {sets}
        FROM {_rows_of({"agent_id": "bigint", **types}, source)} AS b WHERE s.agent_id = b.agent_id
    """


def having(table: str, agent_ids: Collection[int], condition: str, *values: Any) -> set[int]:
    """Which of these agents have such rows in a table.

    For reviews, whose agents mostly have none: Django takes longer to build the query for the rows than the database
    takes to say that there are none.
    """
    sql = f"SELECT DISTINCT agent_id FROM {table} WHERE agent_id {_among()} AND {condition}"
    with connection.cursor() as cursor:
        cursor.execute(sql, [_ids(agent_ids), *map(_plain, values)])
        return {agent_id for (agent_id,) in cursor.fetchall()}


def mark_read(agent_ids: Collection[int]) -> None:
    """The review has read all heartbeats of these agents."""
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM agents_unread WHERE agent_id {_among()}", [_ids(agent_ids)])


def _among() -> str:
    return "= ANY(%s)" if _on_postgresql() else "IN (SELECT value FROM json_each(%s))"


def _ids(agent_ids: Collection[int]) -> list[int] | str:
    ids = list(agent_ids)
    return ids if _on_postgresql() else _json(ids)


def _plain(value: Any) -> Any:
    return _time(value) if isinstance(value, datetime) else value


def update_rows(table: str, key: str, types: dict[str, str], rows: list[dict[str, Any]]) -> None:
    """Write these columns (with their types) of a table's rows, each given with its primary key as `pk`."""
    if not _on_postgresql():
        sqlite_rows.update(table, [key], types, [{**row, key: row["pk"]} for row in rows])
        return
    sets = ", ".join(f"{name} = b.{name}" for name in types)
    sql = f"UPDATE {table} AS t SET {sets} FROM {_rows_of({'pk': 'bigint', **types})} AS b WHERE t.{key} = b.pk"
    with connection.cursor() as cursor:
        cursor.execute(sql, [_json(rows)])


def insert_rows(table: str, key: str, types: dict[str, str], rows: list[dict[str, Any]]) -> list[int]:
    """Insert these rows, numbered by `i`. Returns their primary keys in the same order.

    Keys grow in the order in which rows are inserted, which ORDER BY determines; RETURNING promises no order.
    """
    if not _on_postgresql():
        return sqlite_rows.insert_new(table, key, types, rows)
    names, source = ", ".join(types), _rows_of({"i": "int", **types})
    sql = f"INSERT INTO {table} ({names}) SELECT {names} FROM {source} AS b ORDER BY b.i RETURNING {key}"
    with connection.cursor() as cursor:
        cursor.execute(sql, [_json(rows)])
        return sorted(pk for (pk,) in cursor.fetchall())


def upsert_rows(
    table: str, unique: Sequence[str], types: dict[str, str], rows: list[Any], *, touched: Sequence[str] = ()
) -> None:
    """Insert these rows; of those that exist by their `unique` columns, write the `touched` ones, else all others."""
    names, keys = ", ".join(types), ", ".join(unique)
    sets = ", ".join(f"{name} = excluded.{name}" for name in touched or types if name not in unique)
    on_conflict = f"ON CONFLICT ({keys}) DO UPDATE SET {sets}"
    if not _on_postgresql():
        sqlite_rows.insert(table, types, rows, on_conflict)
        return
    with connection.cursor() as cursor:
        sql = f"INSERT INTO {table} ({names}) SELECT {names} FROM {_rows_of(types)} AS b {on_conflict}"
        cursor.execute(sql, [_json(rows)])


def _insert_sql(source: str) -> str:
    names = ", ".join(HEARTBEAT)
    return f"INSERT INTO agents_heartbeat ({names}) SELECT {names} FROM {_rows_of(HEARTBEAT, source)} AS b"


def _mark_sql(source: str) -> str:
    rows = _rows_of({"agent_id": "bigint"}, source)
    return f"INSERT INTO agents_unread (agent_id) SELECT agent_id FROM {rows} AS b ON CONFLICT DO NOTHING"


def price(beats: list[dict[str, Any]]) -> None:
    """Write repriced heartbeats: `id`, `day` and the columns of `_PRICED`."""
    if not _on_postgresql():
        sqlite_rows.update("agents_heartbeat", ["id", "day"], _PRICED, beats)
        return
    sets = ", ".join(f"{name} = b.{name}" for name in _PRICED)
    sql = f"""
        UPDATE agents_heartbeat AS h SET {sets}
        FROM {_rows_of({"id": "bigint", "day": "date", **_PRICED})} AS b WHERE h.id = b.id AND h.day = b.day
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [_json(beats)])


def _rows_of(types: dict[str, str], source: str = "%s") -> str:
    """SQL that turns a JSON list into rows; on SQLite of plain columns only."""
    if _on_postgresql():
        columns = ", ".join(f"{name} {kind}" for name, kind in types.items())
        return f"(SELECT * FROM jsonb_to_recordset({source}::jsonb) AS r({columns}))"
    parts = ", ".join(f"value ->> '$.{name}' AS {name}" for name in types)
    return f"(SELECT {parts} FROM json_each(%s))"


def _on_postgresql() -> bool:
    return connection.vendor == POSTGRESQL


def _cursor() -> CursorWrapper:
    """On PostgreSQL, a cursor that prepares its statements on the server; Django's own binds on the client."""
    if not _on_postgresql():
        return connection.cursor()
    from agents.storage.prepared import prepared_cursor  # needs psycopg, which SQLite installations never load

    return prepared_cursor()


def _json(rows: Any) -> str:
    return msgspec.json.encode(rows).decode()


def _time(value: datetime) -> datetime | str:
    return value if _on_postgresql() else sqlite_rows.as_text(value)


def _locked_agent(row: Sequence[Any]) -> LockedAgent:
    # The columns of `_SETTINGS`, then the others of `_lock_sql`.
    interval, grace, progress_timeout, daily_usd, run_usd, daily_tokens, paused_at, over_plan_at, *rest = row
    policy, own_target, labels, owner, stored_id, answer, *hot = rest
    return LockedAgent(
        hot=_hot_decoder.decode(hot[0]) if _on_postgresql() else _hot_of(hot),
        interval=interval,
        grace=grace,
        progress_timeout=progress_timeout,
        daily_budget=_micros(daily_usd),
        run_budget=_micros(run_usd),
        daily_tokens=daily_tokens,
        paused=paused_at is not None,
        over_plan=over_plan_at is not None,
        armed=policy == "auto" or bool(own_target),
        labels=_from_json(labels),
        owner=owner,
        stored_before=stored_id is not None,
        answer_before=_from_json(answer),
    )


def _micros(usd: Any) -> int | None:
    return None if usd is None else round(float(usd) * MICRO)


def _hot_of(columns: list[Any]) -> Hot:
    values = dict(zip(HOT_COLUMNS, map(_aware, columns), strict=True))
    values |= {name: _from_json(values[name]) for name in ("warnings", "unpriced", "lifted", "instances")}
    return Hot(**values)


def _from_json(value: Any) -> Any:
    """Django does not decode JSON columns in raw queries."""
    return msgspec.json.decode(value) if isinstance(value, str) else value


def _aware(value: Any) -> Any:
    """SQLite's driver returns naive times, which are UTC."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
