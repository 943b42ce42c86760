"""The SQL of the hot path: lock and read hot rows, write a batch of heartbeats, and save what a review concluded.

Statements for heartbeats are prepared: planning took half of the database's time for a lone heartbeat.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, timedelta
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec
from django.db import connection

from agents.domain.hot_row import Hot
from agents.domain.money import MICRO
from agents.storage import sqlite_rows
from agents.storage.columns import CONCLUDED, HEARTBEAT, HOT_COLUMNS, WRITTEN
from agents.storage.json_rows import (
    POSTGRESQL,
    among,
    as_ids,
    as_json,
    aware,
    from_json,
    insert_sql,
    on_postgresql,
    open_cursor,
    rows_of,
    update_rows,
    update_sql,
)

TABLE: Final = "agents_agentstate"
KEY: Final = {"agent_id": "bigint"}
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
# How long after its first try a client may resend a heartbeat; our client says when it was created.
RESEND_DAYS: Final = timedelta(days=2)
_WANTED: Final = {"i": "int", "project_id": "bigint", "name": "text", "beat_id": "text"}
# Only joined for heartbeats with an id, which costs a look-up in each day's partition.
NOT_STORED_BEFORE: Final = "LEFT JOIN agents_heartbeat h ON false"
STORED_BEFORE: Final = """LEFT JOIN agents_heartbeat h
            ON h.agent_id = n.agent_id AND h.beat_id = b.beat_id AND h.day BETWEEN %s AND %s"""
_hot_decoder = msgspec.json.Decoder(Hot)


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


def lock(wanted: list[dict[str, Any]], today: date, sent: date | None = None) -> dict[int, LockedAgent]:
    """Lock the agents of `wanted` ({"i", "project_id", "name", "beat_id"}) that nobody else has locked; by `i`.

    Left out are names without an agent (see `existing`), and agents whose row is locked: heartbeats never wait for a
    review. `sent` is the day of the oldest heartbeat: no copy of it can be older.
    """
    values, with_ids = [as_json(wanted)], any(each["beat_id"] for each in wanted)
    if with_ids:
        since = min(today, sent or today) - RESEND_DAYS
        values += [since.isoformat(), today.isoformat()]
    with open_cursor() as cursor:
        cursor.execute(_lock_sql(connection.vendor, STORED_BEFORE if with_ids else NOT_STORED_BEFORE), values)
        return {index: _locked_agent(row) for index, *row in cursor.fetchall()}


def existing(wanted: list[dict[str, Any]]) -> set[int]:
    """Which of `wanted` name an agent that exists, by `i`."""
    with open_cursor() as cursor:
        cursor.execute(_existing_sql(connection.vendor), [as_json(wanted)])
        return {index for (index,) in cursor.fetchall()}


@cache
def _lock_sql(vendor: str, stored_before: str) -> str:
    """PostgreSQL returns the hot row as JSON text: msgspec decodes it in a tenth of the time of separate columns."""
    select = ", ".join(f"a.{name}" for name in _SETTINGS)
    hot = "row_to_json(s)::text" if vendor == POSTGRESQL else ", ".join(f"s.{name}" for name in HOT_COLUMNS)
    return f"""
        SELECT b.i, {select}, n.bound_to, h.id, h.answer, {hot}
        FROM {rows_of(_WANTED)} AS b
        JOIN agents_agentname n ON n.project_id = b.project_id AND n.name = b.name
        JOIN agents_agent a ON a.id = n.agent_id
        JOIN agents_agentstate s ON s.agent_id = n.agent_id
        {stored_before}
        ORDER BY s.agent_id, b.i {"FOR UPDATE OF s SKIP LOCKED" if vendor == POSTGRESQL else ""}
    """


@cache
def _existing_sql(vendor: str) -> str:
    return f"""
        SELECT b.i FROM {rows_of(_WANTED)} AS b
        JOIN agents_agentname n ON n.project_id = b.project_id AND n.name = b.name
    """


class Changes(msgspec.Struct):
    """What one transaction of heartbeats writes: hot rows, heartbeats, and the agents that the review must look at."""

    hot: list[Hot]
    beats: list[dict[str, Any]]
    unread: list[dict[str, int]]


def write(changes: Changes) -> None:
    """Write a batch of heartbeats, on PostgreSQL in one statement.

    Raises IntegrityError when a concurrent transaction stored one with the same `beat_id`.
    """
    if on_postgresql():
        with open_cursor() as cursor:
            cursor.execute(_write_sql(), [msgspec.json.encode(changes).decode()])
        return
    sqlite_rows.update(TABLE, list(KEY), WRITTEN, changes.hot)
    sqlite_rows.insert("agents_heartbeat", HEARTBEAT, changes.beats)
    sqlite_rows.insert("agents_unread", KEY, changes.unread, "ON CONFLICT DO NOTHING")


@cache
def _write_sql() -> str:
    hot, unread, beats = (f"(SELECT given -> '{name}' FROM batch)" for name in ("hot", "unread", "beats"))
    return f"""
        WITH batch AS (SELECT %s::jsonb AS given),
        hot AS ({update_sql(TABLE, KEY, WRITTEN, hot)}),
        unread AS ({insert_sql("agents_unread", KEY, unread)} ON CONFLICT DO NOTHING)
        {insert_sql("agents_heartbeat", HEARTBEAT, beats)}
    """


def save_outcomes(rows: list[dict[str, Any]]) -> None:
    """Write a review's results: `agent_id` and the columns of `CONCLUDED`."""
    update_rows(TABLE, KEY, CONCLUDED, rows)


def mark_read(agent_ids: Collection[int]) -> None:
    """The review has read all heartbeats of these agents."""
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM agents_unread WHERE agent_id {among()}", [as_ids(agent_ids)])


def _locked_agent(row: Sequence[Any]) -> LockedAgent:
    # The columns of `_SETTINGS`, then the others of `_lock_sql`.
    interval, grace, progress_timeout, daily_usd, run_usd, daily_tokens, paused_at, over_plan_at, *rest = row
    policy, own_target, labels, owner, stored_id, answer, *hot = rest
    return LockedAgent(
        hot=_hot_decoder.decode(hot[0]) if on_postgresql() else _hot_of(hot),
        interval=interval,
        grace=grace,
        progress_timeout=progress_timeout,
        daily_budget=micros(daily_usd),
        run_budget=micros(run_usd),
        daily_tokens=daily_tokens,
        paused=paused_at is not None,
        over_plan=over_plan_at is not None,
        armed=policy == "auto" or bool(own_target),
        labels=from_json(labels),
        owner=owner,
        stored_before=stored_id is not None,
        answer_before=from_json(answer),
    )


def micros(usd: Any) -> int | None:
    """Micro-dollars of a column in US dollars."""
    return None if usd is None else round(float(usd) * MICRO)


def _hot_of(columns: list[Any]) -> Hot:
    values = dict(zip(HOT_COLUMNS, map(aware, columns), strict=True))
    values |= {name: from_json(values[name]) for name in ("warnings", "unpriced", "lifted", "instances")}
    return Hot(**values)
