"""Replicas: several processes that report under one name. Pure: no Django, no clock.

The hot row holds what the process that reported last is compared with; `instances` keeps that of the others. Without
it, two replicas would take turns in looking restarted, which cancels the run's budget and what was warned of.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol

# Columns of the hot row that belong to one process.
_OF_ONE: Final = (
    "reported",
    "crashed",
    "iteration",
    "message_hash",
    "prompts_hash",
    "calls_hash",
    "warned",
    "run_cost",
    "run_priced",
    "run_unpriced",
)
MAX_KEPT: Final = 16
# A process that was silent for so long, and for three intervals, has ended.
IN_USE: Final = timedelta(minutes=5)
_SEEN: Final = "seen"


class Runs(Protocol):
    """The hot-row columns that hold runs."""

    last_beat_at: datetime | None
    declared_interval: float | None
    run_at: datetime | None
    run_cost: int
    run_priced: int
    run_unpriced: int
    instances: dict[str, dict[str, Any]] | None


class Run(NamedTuple):
    """What one process has spent since its start, in micro-dollars; `unpriced` are tokens."""

    at: datetime | None
    cost: int
    priced: int
    unpriced: int


def switch(hot: Any, instance: str) -> None:
    """Bring a known process's columns into the hot row. An unknown one is compared with the last."""
    known = dict(hot.instances or {})
    theirs = known.pop(instance, None)
    known[hot.instance] = _kept(hot)
    hot.instances = dict(list(known.items())[-MAX_KEPT:])
    if theirs is not None:
        hot.instance, hot.run_at = instance, _time(theirs["run_at"])
        for name in _OF_ONE:
            setattr(hot, name, theirs[name])


def worst_run(row: Runs) -> Run:
    """The costliest run of a process in use: the budget of a run is for each of them."""
    own = Run(row.run_at, row.run_cost, row.run_priced, row.run_unpriced)
    others = (_run(kept) for kept in (getattr(row, "instances", None) or {}).values() if _is_in_use(kept, row))
    return max([own, *others], key=lambda run: run.cost)


def _kept(hot: Any) -> dict[str, Any]:
    times = {"run_at": hot.run_at, _SEEN: hot.last_beat_at}
    texts = {name: at.isoformat() if at else None for name, at in times.items()}
    return {**{name: getattr(hot, name) for name in _OF_ONE}, **texts}


def _run(kept: dict[str, Any]) -> Run:
    return Run(_time(kept["run_at"]), kept["run_cost"], kept["run_priced"], kept["run_unpriced"])


def _is_in_use(kept: dict[str, Any], row: Runs) -> bool:
    """Whether it reported since the last one started, which otherwise replaced it, and recently."""
    seen, last = _time(kept[_SEEN]), row.last_beat_at
    if seen is None or last is None or (row.run_at is not None and seen < row.run_at):
        return False
    return last - seen <= max(IN_USE, timedelta(seconds=3 * (row.declared_interval or 0)))


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
