"""The statements of the hot path, on PostgreSQL and on SQLite: lock and read, update, insert, and a project's month.

Each takes one JSON parameter that holds the whole batch: 4 µs a row against 36 for arrays (measured on PostgreSQL).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
from django.db import connection

from agents.domain.hot_row import Hot

# Written by a heartbeat: column -> PostgreSQL type. Order as in `Hot`.
_TYPES: Final[dict[str, str]] = {
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
    "runner_down": "boolean",
    "held": "boolean",
    "restart_type": "text",
    "restart_target": "text",
    "warned": "text",
}
# Written by the review.
CONCLUDED: Final[dict[str, str]] = {
    "check_at": "timestamptz",
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
_SETTINGS: Final = (
    "interval",
    "grace",
    "progress_timeout",
    "daily_budget_usd",
    "run_budget_usd",
    "daily_token_limit",
    "paused_at",
    "over_plan_at",
)
_BEAT_TYPES: Final[dict[str, str]] = {
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
# Written when prices changed.
_PRICED: Final = {name: _BEAT_TYPES[name] for name in ("cost", "priced", "unpriced", "content")}
# A client may send the same beat again for so long after its first try; ours says when it was made.
RESEND_DAYS: Final = timedelta(days=2)
# Only for beats with an id: planning a look into every day's partition takes longer than all the rest.
STORED_BEFORE: Final = """LEFT JOIN agents_heartbeat h
            ON h.agent_id = n.agent_id AND h.beat_id = b.beat_id AND h.day BETWEEN %s AND %s"""

_hot_decoder = msgspec.json.Decoder(Hot)
_hot_columns = ("agent_id", *_TYPES, *(name for name in CONCLUDED if name not in _TYPES))


class Found(NamedTuple):
    """What is known of one beat's agent: the hot row, what a person set, and whether the beat is stored already."""

    hot: Hot
    interval: float | None
    grace: float | None
    progress_timeout: float | None
    daily_budget: int | None
    run_budget: int | None
    daily_tokens: int | None
    paused: bool
    over_plan: bool
    stored_before: bool
    answer_before: Any


def lock(wanted: list[dict[str, Any]], today: date, sent: date | None = None) -> dict[int, Found]:
    """Lock the agents of `wanted` ({"i", "project_id", "name", "beat_id"}), in the order of their ids; by `i`.

    Names without an agent are left out. `sent` is the day of the oldest: no copy of it can have come in before.
    """
    sql, values = _lock_sql(), [_json(wanted)]
    if any(one["beat_id"] for one in wanted):
        since = min(today, sent or today) - RESEND_DAYS
        sql, values = _lock_sql(STORED_BEFORE), [*values, since.isoformat(), today.isoformat()]
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return {row[0]: _found(row[1:]) for row in cursor.fetchall()}


def _lock_sql(stored_before: str = "LEFT JOIN agents_heartbeat h ON false") -> str:
    """PostgreSQL gives the hot row as one JSON text: read by msgspec, that is a tenth of the work of 38 columns."""
    select = ", ".join(f"a.{name}" for name in _SETTINGS)
    hot = "row_to_json(s)::text" if _on_postgresql() else ", ".join(f"s.{name}" for name in _hot_columns)
    source = _rows_of({"i": "int", "project_id": "bigint", "name": "text", "beat_id": "text"})
    return f"""
        SELECT b.i, {select}, h.id, h.answer, {hot}
        FROM {source} AS b
        JOIN agents_agentname n ON n.project_id = b.project_id AND n.name = b.name
        JOIN agents_agent a ON a.id = n.agent_id
        JOIN agents_agentstate s ON s.agent_id = n.agent_id
        {stored_before}
        ORDER BY s.agent_id, b.i {"FOR UPDATE OF s" if _on_postgresql() else ""}
    """


def months(project_ids: Sequence[int], first: date) -> list[tuple[int, int, str, int]]:
    """Of projects that have a monthly budget: id, budget, how it stands (see `MonthSpend`), and what all agents spent.

    By hand, since Django takes longer to write this than the database to answer it.
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


def update(hot_rows: Iterable[Hot]) -> None:
    """Write back what heartbeats change of hot rows."""
    _update(_TYPES, list(hot_rows))


def save_outcomes(rows: list[dict[str, Any]]) -> None:
    """Write what a review concluded of agents: `agent_id` and the columns of `CONCLUDED`."""
    _update(CONCLUDED, rows)


def _update(types: dict[str, str], rows: list[Any]) -> None:
    sets = ", ".join(f"{name} = b.{name}" for name in types)
    sql = f"""
        UPDATE agents_agentstate AS s SET {sets}
        FROM {_rows_of({"agent_id": "bigint", **types})} AS b WHERE s.agent_id = b.agent_id
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [_json(rows)])


def insert(beats: list[dict[str, Any]]) -> None:
    """Append heartbeats. Raises IntegrityError when one with the same `beat_id` came in at the same moment."""
    names = ", ".join(_BEAT_TYPES)
    sql = f"""
        INSERT INTO agents_heartbeat ({names})
        SELECT {names} FROM {_rows_of(_BEAT_TYPES)} AS b
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [_json(beats)])


def price(beats: list[dict[str, Any]]) -> None:
    """Write what stored heartbeats cost now: `id`, `day` and the columns of `_PRICED`."""
    sets = ", ".join(f"{name} = b.{name}" for name in _PRICED)
    sql = f"""
        UPDATE agents_heartbeat AS h SET {sets}
        FROM {_rows_of({"id": "bigint", "day": "date", **_PRICED})} AS b WHERE h.id = b.id AND h.day = b.day
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [_json(beats)])


def _rows_of(types: dict[str, str]) -> str:
    """SQL that turns the one JSON parameter into rows."""
    if _on_postgresql():
        return f"(SELECT * FROM jsonb_to_recordset(%s::jsonb) AS r({', '.join(f'{n} {t}' for n, t in types.items())}))"
    parts = ", ".join(f"{_sqlite_value(name, kind)} AS {name}" for name, kind in types.items())
    return f"(SELECT {parts} FROM json_each(%s))"


def _sqlite_value(name: str, kind: str) -> str:
    # JSON columns are texts there, and a JSON null must become an SQL one.
    return f"nullif(value -> '$.{name}', 'null')" if kind == "jsonb" else f"value ->> '$.{name}'"


def _on_postgresql() -> bool:
    return connection.vendor == "postgresql"


def _json(rows: list[Any]) -> str:
    return msgspec.json.encode(rows).decode() if _on_postgresql() else _sqlite_json(rows)


def _sqlite_json(rows: list[Any]) -> str:
    """Times as Django writes them on SQLite: UTC, without a zone, a blank between date and time."""
    plain = [_sqlite_row(row if isinstance(row, dict) else msgspec.structs.asdict(row)) for row in rows]
    return msgspec.json.encode(plain).decode()


def _sqlite_row(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _sqlite_time(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _sqlite_time(value: datetime) -> str:
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ")


def _found(row: tuple[Any, ...]) -> Found:
    interval, grace, progress_timeout, budget, run_budget, tokens, paused_at, over_plan_at, *rest = row
    stored_id, answer, *hot = rest
    return Found(
        _hot_decoder.decode(hot[0]) if _on_postgresql() else _hot_of(hot),
        interval,
        grace,
        progress_timeout,
        _micros(budget),
        _micros(run_budget),
        tokens,
        paused_at is not None,
        over_plan_at is not None,
        stored_id is not None,
        _from_json(answer),
    )


def _micros(usd: Any) -> int | None:
    return None if usd is None else round(float(usd) * 1_000_000)


def _hot_of(columns: list[Any]) -> Hot:
    values = dict(zip(_hot_columns, map(_aware, columns), strict=True))
    values |= {name: _from_json(values[name]) for name in ("warnings", "unpriced", "lifted")}
    return Hot(**values)


def _from_json(value: Any) -> Any:
    """Django leaves JSON columns of raw queries as text."""
    return msgspec.json.decode(value) if isinstance(value, str) else value


def _aware(value: Any) -> Any:
    """SQLite's driver gives times without their zone, which is UTC."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
