"""How restarts count for an incident: how many were sent to a runner, and whether the last one worked."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Final

from django.db.models import F

from agents.domain.durations import spoken
from agents.models import AgentState, Command, Incident
from agents.storage import json_rows
from teams.actors import WATCHDOG
from teams.services import audit

# A runner may restart its target before the review has opened an incident.
ADOPTED_WITHIN: Final = timedelta(minutes=2)


def count(incident: Incident | None, at: datetime) -> None:
    """A restart for this incident was sent to a runner at this time."""
    if incident is not None:
        Incident.objects.filter(pk=incident.pk).update(restarts=F("restarts") + 1, restarted_at=at, recovered_in=None)


def mark_failed(incident: Incident | None) -> None:
    """The last restart did not happen: it counts as an attempt, but nothing has to prove that it worked."""
    if incident is not None:
        Incident.objects.filter(pk=incident.pk).update(restarted_at=None)


def take_back(incident: Incident | None) -> None:
    """The last restart was sent to the wrong runner, so it does not count."""
    if incident is not None:
        Incident.objects.filter(pk=incident.pk).update(restarts=F("restarts") - 1, restarted_at=None)


def add(incident: Incident, at: datetime) -> None:
    """The same for an incident that is not stored yet, or locked and stored later."""
    incident.restarts, incident.restarted_at, incident.recovered_in = incident.restarts + 1, at, None


def unclaimed(agent_ids: Collection[int], now: datetime) -> Iterable[Command]:
    """Restarts that runners of these agents made shortly before, and that belong to no incident yet."""
    since = now - ADOPTED_WITHIN
    commanded = json_rows.having("agents_command", agent_ids, "incident_id IS NULL AND created_at > %s", since)
    if not commanded:
        return ()
    recent = Command.objects.filter(agent__in=commanded, incident=None, created_at__gt=since)
    return recent.filter(origin=Command.Origin.RUNNER, leased_at__isnull=False).order_by("pk")


def by_runner(command: Command) -> str:
    """The timeline's text for a restart that a runner made on its own."""
    return f"Restart of {command.target} by its runner"


def recovered_in(incident: Incident, state: AgentState) -> float | None:
    """Seconds from the last restart to the progress that proved it; None when no restart was what helped."""
    proof = state.last_progress_at or state.last_beat_at
    ended = state.reported == "shutdown" or state.agent.paused_at is not None
    if incident.restarted_at is None or incident.together or ended or proof is None:
        return None
    seconds = (proof - incident.restarted_at).total_seconds()
    return seconds if seconds > 0 else None


def credit(incident: Incident) -> str:
    """The end of the recovery's text when a restart helped; else empty."""
    if incident.recovered_in is None:
        return ""
    restart = f"restart {incident.restarts}" if incident.restarts > 1 else "the restart"
    return f", {spoken(incident.recovered_in)} after {restart}"


def audit_proof(incident: Incident) -> None:
    """Write to the audit log that the restart worked, if it did."""
    if incident.recovered_in is None:
        return
    data = {"incident": incident.pk, "restarts": incident.restarts, "seconds": round(incident.recovered_in, 3)}
    audit(
        team=incident.project.team,
        actor=WATCHDOG,
        action="restart.proven",
        target=incident.agent.name,
        of=incident,
        data=data,
    )
