"""What a team can take along, and the receipt of its deletion.

The tables are found by following the foreign keys from the team, so a new table is exported without being listed here.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from django.db import models

from teams.encryption import EncryptedJSONField
from teams.models import Team, User
from teams.roles import Role

# Hashes that stand for a secret, and addresses of pings. Encrypted columns are left out, too: whoever steals a download
# opens nothing with it.
SECRETS: Final = frozenset({"hash", "token_hash", "session_key", "password", "ping_key", "ping_id"})
COUNTED: Final = ("memberships", "projects", "projects__api_keys", "projects__agents", "projects__channels")


def tables() -> list[tuple[type[models.Model], str]]:
    """Each table that belongs to a team, with the path of its rows to the team, nearest first."""
    found: dict[type[models.Model], str] = {}
    waiting: list[tuple[type[models.Model], str]] = [(Team, "")]
    while waiting:
        parent, path = waiting.pop(0)
        for child, name in _children(parent):
            if child not in found and child is not Team:
                found[child] = f"{name}__{path}" if path else name
                waiting.append((child, found[child]))
    return list(found.items())


def _children(parent: type[models.Model]) -> Iterator[tuple[type[models.Model], str]]:
    """Tables whose rows are deleted with a row of the parent, and the name of their foreign key."""
    for relation in parent._meta.related_objects:
        if relation.on_delete is models.CASCADE and not relation.many_to_many:
            yield relation.related_model, relation.field.name


def lines(team: Team) -> Iterator[str]:
    """All data of a team as JSON lines: what the row is, then its columns. Reads as it goes, whatever the size."""
    yield _line(team)
    for person in User.objects.filter(memberships__team=team).order_by("pk"):
        yield _as_line("teams.user", {"id": person.pk, "email": person.email, "name": person.name})
    for model, path in tables():
        for row in model._default_manager.filter(**{path: team.pk}).order_by("pk").iterator(chunk_size=1000):
            yield _line(row)


def _line(row: models.Model) -> str:
    fields = [field for field in row._meta.concrete_fields if not _is_secret(field)]
    return _as_line(row._meta.label_lower, {field.attname: field.value_from_object(row) for field in fields})


def _as_line(label: str, columns: dict[str, Any]) -> str:
    return json.dumps({"table": label, **columns}, ensure_ascii=False, separators=(",", ":"), default=_text) + "\n"


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _is_secret(field: models.Field[Any, Any]) -> bool:
    return field.name in SECRETS or isinstance(field, EncryptedJSONField)


def receipt(team: Team, *, actor: str, now: datetime) -> dict[str, Any]:
    """What was deleted, by whom, and whom to tell. Call it before the deletion."""
    counts = {name.rpartition("__")[2]: _count(team, name) for name in COUNTED}
    owners = User.objects.filter(memberships__team=team, memberships__role=Role.OWNER, is_active=True)
    return {
        "number": secrets.token_hex(8),
        "team": team.name,
        "actor": actor,
        "at": now,
        "counts": {name.replace("_", " "): count for name, count in counts.items()},
        "addresses": list(owners.values_list("email", flat=True)),
    }


def _count(team: Team, path: str) -> int:
    found: int = Team.objects.filter(pk=team.pk).aggregate(n=models.Count(path, distinct=True))["n"]
    return found
