"""A database connection that belongs to one thread of the hot path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, connections


def use_own_connection() -> None:
    """Give this thread a connection outside the pool; it stays open until the thread closes it.

    It keeps its prepared statements, does not wait for others to return theirs, and finds a database that is back at
    once: the pool pauses for longer and longer between attempts.
    """
    wrapper = connections[DEFAULT_DB_ALIAS]
    options = {name: value for name, value in wrapper.settings_dict["OPTIONS"].items() if name != "pool"}
    own = {**wrapper.settings_dict, "OPTIONS": options, "CONN_MAX_AGE": None}
    connections[DEFAULT_DB_ALIAS] = type(wrapper)(own, DEFAULT_DB_ALIAS)


@contextmanager
def own_connection() -> Iterator[None]:
    """As `use_own_connection`, and close it at the end."""
    use_own_connection()
    try:
        yield
    finally:
        connections[DEFAULT_DB_ALIAS].close()
