"""A column of the hot row stands in the model, in the struct the fold changes and in the hot path's SQL: all agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import pytest
from django.db.models import Field, Model

from agents.domain.hot_row import Hot
from agents.models import AgentState, Heartbeat
from agents.storage import columns as written

POSTGRESQL_TYPES = {
    "BigAutoField": "bigint",
    "BigIntegerField": "bigint",
    "BooleanField": "boolean",
    "CharField": "text",
    "DateField": "date",
    "DateTimeField": "timestamptz",
    "FloatField": "float8",
    "ForeignKey": "bigint",
    "IntegerField": "int",
    "JSONField": "jsonb",
    "OneToOneField": "bigint",
}


def columns(model: type[Model]) -> dict[str, str]:
    """The model's columns and how the SQL names their types."""
    return {
        str(field.column): POSTGRESQL_TYPES[type(field).__name__]
        for field in model._meta.get_fields()
        if isinstance(field, Field) and field.concrete and not field.many_to_many
    }


def differences(name: str, expected: Iterable[str], actual: Iterable[str]) -> list[str]:
    expected, actual = set(expected), set(actual)
    missing = [f"{name} lacks the column {column}" for column in sorted(expected - actual)]
    return missing + [f"{name} has {column}, which is no column" for column in sorted(actual - expected)]


def wrong_types(model: type[Model], declared: Mapping[str, str]) -> dict[str, str]:
    types = columns(model)
    return {name: f"is {types[name]}, not {kind}" for name, kind in declared.items() if types.get(name, kind) != kind}


def test_the_struct_has_every_column() -> None:
    assert differences("domain/hot_row.py: Hot", columns(AgentState), Hot.__struct_fields__) == []


def test_the_statements_cover_every_column() -> None:
    assert differences("storage/columns.py", columns(AgentState), written.HOT_COLUMNS) == []


@pytest.mark.parametrize("declared", [written.WRITTEN, written.CONCLUDED], ids=["WRITTEN", "CONCLUDED"])
def test_hot_row_types_match_the_model(declared: dict[str, str]) -> None:
    assert wrong_types(AgentState, declared) == {}


def test_the_heartbeat_statement_covers_the_model() -> None:
    assert differences("HEARTBEAT", set(columns(Heartbeat)) - {"id"}, written.HEARTBEAT) == []
    assert wrong_types(Heartbeat, written.HEARTBEAT) == {}


def test_nullable_columns_are_optional_in_the_struct() -> None:
    optional = {
        field.name for field in msgspec.structs.fields(Hot) if type(None) in getattr(field.type, "__args__", ())
    }
    nullable = {str(field.column) for field in AgentState._meta.fields if field.null}
    assert differences("Optional fields of Hot", nullable, optional) == []


def test_a_forgotten_column_is_named() -> None:
    assert differences("Hot", ["beats", "new"], ["beats", "old"]) == [
        "Hot lacks the column new",
        "Hot has old, which is no column",
    ]
