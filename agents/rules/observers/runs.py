"""A job's runs, from the heartbeats that say so, and the schedule that its client declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from agents.domain import jobs
from agents.domain.jobs import schedules
from agents.domain.jobs.schedules import Schedule
from agents.domain.notes import DYING, OUTDATED
from agents.domain.redaction import redacted
from agents.rules.facts import BeatSeen

KIND: Final = "runs"
# Its name in the state.
RUNS: Final = "runs"


def read(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep the last runs, the last heartbeat that says nothing about a run, and the declared schedule.

    Agents that are no jobs cost nothing: without a run there is no state.
    """
    known = dict(state)
    for beat in beats:
        if beat.job:
            _add(known, beat)
        elif known and _is_sign_of_work(beat):
            known["seen"] = beat.received_at.isoformat()
    return known


def _add(known: dict[str, Any], beat: BeatSeen) -> None:
    job = beat.job
    runs = jobs.add(jobs.decode(known.get("runs")), _event(beat))
    known["runs"] = jobs.encode(runs)
    declared = job.get("schedule")
    if declared and beat.note != OUTDATED:
        since = known.get("declared", {}).get("since") if _same(known, declared) else None
        known["declared"] = {**declared, "since": since or beat.received_at.isoformat()}


def _same(known: Mapping[str, Any], declared: Mapping[str, Any]) -> bool:
    before = {name: value for name, value in known.get("declared", {}).items() if name != "since"}
    return before == dict(declared)


def _event(beat: BeatSeen) -> jobs.Event:
    return jobs.Event(
        event=beat.job["event"],
        at=beat.made_at or beat.received_at,
        rid=beat.job.get("rid") or "",
        exit_status=beat.job.get("exit_status"),
        took=beat.job.get("duration"),
        output=redacted(beat.custom[-2 * jobs.MAX_OUTPUT :]),
    )


def _is_sign_of_work(beat: BeatSeen) -> bool:
    return beat.status in ("ok", "warning") and not beat.evidence and beat.note not in (DYING, OUTDATED)


def runs_of(state: Mapping[str, Any]) -> list[jobs.Run]:
    return jobs.decode(state.get("runs"))


def seen_at(state: Mapping[str, Any]) -> datetime | None:
    seen = state.get("seen")
    return datetime.fromisoformat(seen) if seen else None


def declared_schedule(state: Mapping[str, Any]) -> Schedule | None:
    """The schedule that the client last declared, as with `clevagent run --cron`."""
    declared = state.get("declared")
    if not declared:
        return None
    since = datetime.fromisoformat(declared["since"])
    given = {name: value for name, value in declared.items() if name != "since" and value is not None}
    wrong = schedules.problem(given["kind"], given.get("expression", ""), given.get("time_zone", "UTC"), since)
    return None if wrong else Schedule(**{**given, "since": since})
