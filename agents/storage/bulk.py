"""Inserts and updates many rows of a model as a set.

Django's `bulk_create` and `bulk_update` build an expression per row and column, which takes several times as long as
the database needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection
from django.db.models import Field, JSONField, Model

from agents.storage import json_rows


def insert(objects: Sequence[Model]) -> None:
    """Insert these new objects, which are all of one model, and give them their primary keys."""
    if not objects:
        return
    meta = objects[0]._meta
    fields: list[Any] = [field for field in meta.concrete_fields if not field.primary_key]
    _follow([field for field in fields if field.is_relation], objects)
    names = [(field.column, field.attname) for field in fields]
    rows = [{"i": i, **{column: getattr(each, name) for column, name in names}} for i, each in enumerate(objects)]
    pks = json_rows.insert_rows(meta.db_table, _column(meta.pk), _types(fields), rows)
    for each, pk in zip(objects, pks, strict=True):
        each.pk, each._state.adding, each._state.db = pk, False, connection.alias


def _follow(relations: Sequence[Any], objects: Sequence[Model]) -> None:
    """Objects may refer to others that had no primary key yet when they were made."""
    for field in relations:
        for each in objects:
            if getattr(each, field.attname) is None and (related := field.get_cached_value(each, None)) is not None:
                setattr(each, field.name, related)


def upsert(model: type[Model], unique: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert these rows, given by their columns; of those that exist by their `unique` columns, write all others."""
    if rows:
        fields = [field for field in model._meta.concrete_fields if field.column in rows[0]]
        json_rows.upsert_rows(model._meta.db_table, unique, _types(fields), list(rows))


def update(objects: Sequence[Model], names: Sequence[str]) -> None:
    """Write these fields of the objects, which are all of one model."""
    if not objects:
        return
    meta = objects[0]._meta
    fields: list[Any] = [meta.get_field(name) for name in names]
    key = _column(meta.pk)
    rows = [{key: each.pk, **{field.column: getattr(each, field.attname) for field in fields}} for each in objects]
    json_rows.update_rows(meta.db_table, _types([meta.pk]), _types(fields), rows)


def _column(field: Any) -> str:
    return str(field.column)


def _types(fields: Sequence[Any]) -> dict[str, str]:
    return {field.column: _type(field) for field in fields}


def _type(field: Field[Any, Any]) -> str:
    return "jsonb" if isinstance(field, JSONField) else str(field.db_type(connection))
