"""Which version of an agent runs, and since when, as its labels say. No rule: another version is a deploy, no fault.

While an old and a new process report side by side their labels take turns; that is one deploy, not many. An old
version is back when it was away, or when the new one is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from agents.rules.facts import BeatSeen

KIND: Final = "version"
# The first of them that a heartbeat carries is its version.
LABELS: Final = ("version", "release", "revision")
LONGEST: Final = 80
KEPT: Final = 40
# Who was heard within this is still there.
SIDE_BY_SIDE: Final = timedelta(minutes=3)
# What goes wrong within this after a deploy may come from it.
FRESH: Final = timedelta(hours=6)


class Version(NamedTuple):
    """`before` is the version that it came after; empty where none was known."""

    name: str
    since: datetime
    before: str


def named(labels: Mapping[str, str]) -> str:
    """Empty when they name none."""
    return next((labels[name].strip()[:LONGEST] for name in LABELS if labels.get(name, "").strip()), "")


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep `versions`, each with its begin, oldest first; `seen` is when those that may still be there last came."""
    versions, seen = list(memory.get("versions", ())), dict(memory.get("seen", {}))
    for beat in beats:
        if beat.version:
            seen = {name: at for name, at in seen.items() if _is_there(at, beat.received_at)}
            if not versions or _is_new(beat.version, versions[-1][1], seen):
                versions.append([beat.received_at.isoformat(), beat.version])
            seen[beat.version] = beat.received_at.isoformat()
    return {"versions": versions[-KEPT:], "seen": seen} if versions else {}


def _is_there(at: str, now: datetime) -> bool:
    return now - datetime.fromisoformat(at) < SIDE_BY_SIDE


def _is_new(version: str, current: str, seen: Mapping[str, str]) -> bool:
    return version != current and not (version in seen and current in seen)


def versions(memory: Mapping[str, Any]) -> list[Version]:
    """Oldest first."""
    found = [(name, datetime.fromisoformat(at)) for at, name in memory.get("versions", ())]
    before = ["", *(name for name, _ in found)]
    return [Version(name, since, old) for (name, since), old in zip(found, before, strict=False)]


def deploys(memory: Mapping[str, Any]) -> list[Version]:
    """Those that came after another, oldest first."""
    return [one for one in versions(memory) if one.before]


def running(memory: Mapping[str, Any], moment: datetime) -> Version | None:
    """The one that ran then; None where none was known."""
    return next((one for one in reversed(versions(memory)) if one.since <= moment), None)
