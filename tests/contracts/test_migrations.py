"""A database written before the migrations were squashed upgrades without loss, to the schema of a fresh one."""

from __future__ import annotations

import contextlib
import copy
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.exceptions import InconsistentMigrationHistory
from django.db.migrations.recorder import MigrationRecorder
from pytest_django import DjangoDbBlocker

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
Rows = dict[str, Counter[str]]

# Column positions are compared as an order: dropped columns leave gaps in the numbers.
POSTGRESQL_SCHEMA = {
    "tables": """
        SELECT relname, relkind, reloptions, relispartition, pg_get_partkeydef(oid), pg_get_expr(relpartbound, oid)
        FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1""",
    "columns": """
        SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attstorage,
            pg_get_expr(adbin, adrelid)
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
            AND attnum > 0 AND NOT attisdropped
        ORDER BY attrelid::regclass::text, attnum""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n' ORDER BY 1, 2""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
}


def fetch(database: BaseDatabaseWrapper, query: str) -> list[Any]:
    with database.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def split_definitions(sql: str) -> list[str]:
    """The columns of a CREATE TABLE in their order, then its constraints by name."""
    body = " ".join(sql.partition("(")[2].rpartition(")")[0].split())
    depth, parts = 0, [""]
    for character in body:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    parts = [part.strip() for part in parts]
    return sorted(parts, key=lambda part: (True, part) if part.startswith("CONSTRAINT") else (False, ""))


def read_schema(database: BaseDatabaseWrapper) -> dict[str, Any]:
    if database.vendor == "postgresql":
        return {name: fetch(database, query) for name, query in POSTGRESQL_SCHEMA.items()}
    objects = fetch(database, "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    return {name: split_definitions(sql) if kind == "table" else sql for kind, name, sql in objects}


def read_columns(database: BaseDatabaseWrapper) -> dict[str, list[str]]:
    """By table."""
    with database.cursor() as cursor:
        describe, tables = database.introspection.get_table_description, database.introspection.table_names(cursor)
        return {table: [column.name for column in describe(cursor, table)] for table in tables}


def read_rows(database: BaseDatabaseWrapper, columns: dict[str, list[str]]) -> Rows:
    quoted = {table: ", ".join(f'"{name}"' for name in names) for table, names in columns.items()}
    return {
        table: Counter(map(repr, fetch(database, f'SELECT {names} FROM "{table}"'))) for table, names in quoted.items()
    }


def migrate(database: BaseDatabaseWrapper) -> None:
    call_command("migrate", database=database.alias, verbosity=0, interactive=False)


def load_fixture(database: BaseDatabaseWrapper) -> None:
    sql = (FIXTURES / f"efb8393_{database.vendor}.sql").read_text()
    with database.cursor() as cursor:
        if database.vendor == "sqlite":
            cursor.executescript(sql)
        else:
            cursor.execute(sql)
    database.close()  # the dump's PRAGMA holds for its connection only


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@contextlib.contextmanager
def empty_database(folder: Path) -> Iterator[BaseDatabaseWrapper]:
    alias = f"migrations_{uuid.uuid4().hex[:12]}"
    name = str(folder / f"{alias}.sqlite3") if connection.vendor == "sqlite" else alias
    if connection.vendor == "postgresql":
        execute(f"CREATE DATABASE {name}")
    connections.settings[alias] = {**copy.deepcopy(connections.settings["default"]), "NAME": name}
    try:
        yield connections[alias]
    finally:
        connections[alias].close()
        del connections[alias], connections.settings[alias]
        if connection.vendor == "postgresql":
            execute(f"DROP DATABASE {name}")


@pytest.fixture
def fresh(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[BaseDatabaseWrapper]:
    with django_db_blocker.unblock(), empty_database(tmp_path) as database:
        migrate(database)
        yield database


@pytest.fixture
def old(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[BaseDatabaseWrapper]:
    with django_db_blocker.unblock(), empty_database(tmp_path) as database:
        load_fixture(database)
        yield database


def test_upgraded_schema_equals_fresh_schema(fresh: BaseDatabaseWrapper, old: BaseDatabaseWrapper) -> None:
    migrate(old)
    assert read_schema(old) == read_schema(fresh)


def test_upgrade_keeps_every_row(old: BaseDatabaseWrapper) -> None:
    columns = read_columns(old)  # an upgrade may add others
    before = read_rows(old, columns)
    assert [table for table, rows in before.items() if not rows] == []
    migrate(old)
    after = read_rows(old, columns)
    assert {table: rows - after[table] for table, rows in before.items()} == {table: Counter() for table in before}


def test_upgraded_rows_are_readable(old: BaseDatabaseWrapper) -> None:
    migrate(old)
    empty = [model._meta.label for model in apps.get_models() if not list(model._default_manager.using(old.alias))]
    # Added since; the upgrade itself leaves nothing to read.
    new = {f"socialaccount.{name}" for name in ("SocialAccount", "SocialApp", "SocialToken")}
    new |= {"sso.SignInDomain", "sso.SingleSignOn"}
    new |= {"agents.DoorNote", "agents.Job", "agents.StreamEvent", "agents.Unread", "teams.RateCount"}
    new |= {"agents.IncomingWebhook", "agents.OutsideEvent"}
    new |= {"alerts.Escalation", "alerts.OnCall", "alerts.Policy", "alerts.QuietHours"}
    assert set(empty) == new | {"teams.AuditPosition", "teams.KnownBrowser", "teams.SavedView", "teams.Session"}


def test_upgrade_records_the_squashed_migrations(old: BaseDatabaseWrapper) -> None:
    migrate(old)
    recorded = set(MigrationRecorder(old).applied_migrations())
    assert recorded >= {(app, "0001_squashed") for app in ("agents", "alerts", "billing", "teams")}


@pytest.mark.parametrize("app", ["agents", "teams"])
def test_half_migrated_database_is_refused(old: BaseDatabaseWrapper, app: str) -> None:
    recorder = MigrationRecorder(old)
    last = max(name for label, name in recorder.applied_migrations() if label == app)
    recorder.record_unapplied(app, last)
    columns = read_columns(old)
    before = read_rows(old, columns)
    with pytest.raises(InconsistentMigrationHistory, match=re.escape(f"dependency {app}.0001_squashed")):
        migrate(old)
    assert read_rows(old, columns) == before
