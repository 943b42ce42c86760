"""Settings from the environment that libraries would accept although they cannot work. Pure: no Django settings.

Each function raises ImproperlyConfigured with the cure, and without the text where that may hold a password.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

_YES: Final = ("true", "yes", "on", "1")
_NO: Final = ("false", "no", "off", "0")
_POSTGRESQL: Final = ("postgres", "postgresql", "psql", "pgsql")


def flag(name: str, default: bool, *, environment: Mapping[str, str] = os.environ) -> bool:
    """A switch; empty means the default. django-environ takes any misspelled text, and an empty one, for false."""
    text = environment.get(name, "").strip().lower()
    if text not in (*_YES, *_NO, ""):
        raise ImproperlyConfigured(f"{name} is {text!r}. Write true or false.")
    return text in _YES if text else default


def words(name: str, default: Sequence[str] = (), *, environment: Mapping[str, str] = os.environ) -> list[str]:
    """A list, separated by commas with or without spaces; without any word the default."""
    given = [word.strip() for word in environment.get(name, "").split(",") if word.strip()]
    return given or list(default)


def require_postgresql(url: str) -> None:
    """Only PostgreSQL can replace the embedded SQLite: the server's statements and its connection pool need it."""
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in _POSTGRESQL and parts.port != 0 and len(parts.path) > 1
    except ValueError:
        is_right = False
    if not is_right:
        raise ImproperlyConfigured(
            "DATABASE_URL must be a PostgreSQL database. Write it as postgres://USER:PASSWORD@HOST:5432/NAME, in a "
            "password # as %23, @ as %40, : as %3A and / as %2F; or leave it empty for SQLite in DATA_DIR."
        )
