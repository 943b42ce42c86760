"""Sorting a list by a column: `?o=name`, or `?o=-name` for the other direction. Rows without a value come last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.contrib.admin.views.main import ORDER_VAR
from django.db.models import F
from django.db.models.expressions import OrderBy

ASCENDING, DESCENDING = "ascending", "descending"
DESCENDING_PREFIX: Final = "-"
# A lookup such as `project__name`, or a function of the time that returns an expression.
Key = str | Callable[[datetime], Any]


@dataclass(frozen=True, slots=True)
class Sort:
    """A column that a list can be sorted by. `newest_first`: the first click sorts the largest values to the top."""

    name: str
    label: str
    key: Key
    newest_first: bool = False

    def ordering(self, direction: str, now: datetime) -> OrderBy:
        value = self.key(now) if callable(self.key) else F(self.key)
        return OrderBy(value, descending=direction == DESCENDING, nulls_last=True)

    @property
    def first(self) -> str:
        """The value of the URL for the first click."""
        return DESCENDING_PREFIX + self.name if self.newest_first else self.name

    @property
    def second(self) -> str:
        return self.name if self.newest_first else DESCENDING_PREFIX + self.name


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a column. Its link sorts by it, then the other way round, then as the list is usually sorted."""

    label: str
    direction: str
    url: str


@dataclass(frozen=True, slots=True)
class Sorting:
    """How a list is sorted. `current` is the value of the URL, empty unless it names a column."""

    current: str
    columns: Mapping[str, Column]
    options: Sequence[tuple[str, str]]

    @property
    def words(self) -> str:
        """`Agent, descending`; empty for the usual order."""
        return dict(self.options).get(self.current, "") if self.current else ""


def chosen(sorts: Iterable[Sort], value: str) -> tuple[Sort, str] | None:
    """The column and direction that the URL names. Anything unknown is the usual order."""
    name = value.removeprefix(DESCENDING_PREFIX)
    sort = next((each for each in sorts if each.name == name), None)
    direction = DESCENDING if value.startswith(DESCENDING_PREFIX) else ASCENDING
    return (sort, direction) if sort else None


def ordering(sorts: Iterable[Sort], value: str, now: datetime) -> list[OrderBy]:
    """What comes before the usual order of a list."""
    choice = chosen(sorts, value)
    return [choice[0].ordering(choice[1], now)] if choice else []


def sorting(sorts: Sequence[Sort], value: str, url: Callable[[dict[str, str]], str]) -> Sorting:
    """For a page; `url` returns the address of the same list with a changed query string."""
    choice = chosen(sorts, value)
    current = value if choice else ""
    columns = {each.name: _column(each, current, choice, url) for each in sorts}
    options = [(value, _words(each, value)) for each in sorts for value in (each.first, each.second)]
    return Sorting(current, columns, options)


def _words(sort: Sort, value: str) -> str:
    return f"{sort.label}, {DESCENDING if value.startswith(DESCENDING_PREFIX) else ASCENDING}"


def _column(sort: Sort, current: str, choice: tuple[Sort, str] | None, url: Callable[[dict[str, str]], str]) -> Column:
    following = {sort.first: sort.second, sort.second: ""}.get(current, sort.first)
    direction = choice[1] if choice and choice[0] is sort else ""
    return Column(sort.label, direction, url({ORDER_VAR: following}))
