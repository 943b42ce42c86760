"""Which version of an agent runs, and since when, from its labels. Not a rule itself: a deploy is no failure.

While an old and a new process report side by side, their labels alternate; that is one deploy, not many. An old version
counts as redeployed if it was gone for a while, or if the new one is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from agents.rules.facts import BeatSeen

KIND: Final = "version"
# The first of these labels that a heartbeat carries is its version.
LABELS: Final = ("version", "release", "revision")
MAX_LENGTH: Final = 80
KEPT: Final = 40
# A version that reported within this still runs.
SIDE_BY_SIDE: Final = timedelta(minutes=3)
# Trouble within this after a deploy may be caused by it.
FRESH: Final = timedelta(hours=6)


class Version(NamedTuple):
    """`before` is the version it replaced; empty if none was known."""

    name: str
    since: datetime
    before: str


def from_labels(labels: Mapping[str, str]) -> str:
    """The version named by the labels; empty if none is."""
    return next((labels[name].strip()[:MAX_LENGTH] for name in LABELS if labels.get(name, "").strip()), "")


def read(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep `versions` with their start, oldest first, and in `seen` when those that may still run last reported."""
    versions, seen = list(state.get("versions", ())), dict(state.get("seen", {}))
    for beat in beats:
        if beat.version:
            seen = {name: at for name, at in seen.items() if _still_runs(at, beat.received_at)}
            current = versions[-1][1] if versions else None
            if current is None or _is_deploy(beat.version, current, seen):
                versions.append([beat.received_at.isoformat(), beat.version])
            seen[beat.version] = beat.received_at.isoformat()
    return {"versions": versions[-KEPT:], "seen": seen} if versions else {}


def _still_runs(at: str, now: datetime) -> bool:
    return now - datetime.fromisoformat(at) < SIDE_BY_SIDE


def _is_deploy(version: str, current: str, seen: Mapping[str, str]) -> bool:
    return version != current and not (version in seen and current in seen)


def versions(state: Mapping[str, Any]) -> list[Version]:
    """All known versions, oldest first."""
    known = [(name, datetime.fromisoformat(at)) for at, name in state.get("versions", ())]
    before = ["", *(name for name, _ in known)]
    return [Version(name, since, old) for (name, since), old in zip(known, before, strict=False)]


def deploys(state: Mapping[str, Any]) -> list[Version]:
    """Versions that replaced another one, oldest first."""
    return [version for version in versions(state) if version.before]


def running(state: Mapping[str, Any], moment: datetime) -> Version | None:
    """The version that ran at a moment; None if none was known."""
    return next((version for version in reversed(versions(state)) if version.since <= moment), None)
