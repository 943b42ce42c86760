"""How often each tool was called, by its name. Pure: no Django, no clock.

A count is kept for the most called only; the others are one, without a name, so that all together stay as many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

MAX_NAMES: Final = 30
OTHERS: Final = ""
SHOWN: Final = 12


class Called(NamedTuple):
    """One tool, or all `OTHERS` as if they were one; `share` is percent of the most called."""

    name: str
    times: int
    share: int


def counted(logs: Iterable[tuple[int, Sequence[str] | None]]) -> dict[str, int]:
    """Calls by name, of heartbeats: how many calls each tells, and the names in its log, oldest first.

    A log may go back further than to the heartbeat before; then the end of it counts.
    """
    names: Counter[str] = Counter()
    for count, log in logs:
        names.update((log or ())[-count:])
    return capped(names)


def added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Calls by name, of several times together."""
    names: Counter[str] = Counter()
    for one in counts:
        for name, times in one.items():
            names[name] += times
    return capped(names)


def capped(names: Mapping[str, int], most: int = MAX_NAMES) -> dict[str, int]:
    """The most called first, the others last."""
    named = sorted(((name, times) for name, times in names.items() if name != OTHERS), key=_most_called)
    others = names.get(OTHERS, 0) + sum(times for _, times in named[most:])
    return dict(named[:most]) | ({OTHERS: others} if others else {})


def _most_called(one: tuple[str, int]) -> tuple[int, str]:
    name, times = one
    return -times, name


def shown(names: Mapping[str, int]) -> list[Called]:
    """For a page."""
    few = capped(names, SHOWN)
    most = max(few.values(), default=0)
    return [Called(name, times, max(1, 100 * times // most)) for name, times in few.items()]
