"""How often each tool was called, by name. Pure: no Django, no clock.

Only the most used tools keep a count of their own; all others share one count without a name, so the total is exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

MAX_NAMES: Final = 30
OTHERS: Final = ""
SHOWN: Final = 12


class Called(NamedTuple):
    """One tool, or all `OTHERS` together; `share` is a percentage of the most used tool's count."""

    name: str
    times: int
    share: int


def counted(logs: Iterable[tuple[int, Sequence[str] | None]]) -> dict[str, int]:
    """Calls by name over several heartbeats, each given as its call count and the names in its log, oldest first.

    A log may include calls of the previous heartbeat; then only its end counts.
    """
    names: Counter[str] = Counter()
    for count, log in logs:
        names.update((log or ())[-count:])
    return capped(names)


def added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of several counts."""
    names: Counter[str] = Counter()
    for calls in counts:
        for name, times in calls.items():
            names[name] += times
    return capped(names)


def capped(names: Mapping[str, int], most: int = MAX_NAMES) -> dict[str, int]:
    """The `most` used tools first, then the sum of the others."""
    named = sorted(((name, times) for name, times in names.items() if name != OTHERS), key=_most_called_first)
    others = names.get(OTHERS, 0) + sum(times for _, times in named[most:])
    return dict(named[:most]) | ({OTHERS: others} if others else {})


def _most_called_first(tool: tuple[str, int]) -> tuple[int, str]:
    name, times = tool
    return -times, name


def shown(names: Mapping[str, int]) -> list[Called]:
    """The rows a page shows."""
    few = capped(names, SHOWN)
    most = max(few.values(), default=0)
    return [Called(name, times, max(1, 100 * times // most)) for name, times in few.items()]
