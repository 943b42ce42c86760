"""Pausing and resuming the monitoring of agents: of one by its buttons, of many from a list."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from django.contrib import admin
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone

from agents.admin import maintenance, selection
from agents.fleet import services
from agents.models import Agent
from teams.errors import ApiError
from teams.times import exact

HOUR, UNTIL_RESUMED = "1h", "resumed"
KEYS: Final = (HOUR, maintenance.TOMORROW, UNTIL_RESUMED)
EXPLANATION: Final = (
    "Heartbeats are stored, but no incident opens, nobody is notified and nothing is restarted automatically. Open "
    "incidents end."
)


def lengths() -> dict[str, str]:
    """What a person may choose, with the times in their own zone."""
    now = timezone.localtime()
    hour, tomorrow = (maintenance.end_of(key, now) for key in (HOUR, maintenance.TOMORROW))
    return {
        HOUR: f"For 1 hour, until {hour:%H:%M}",
        maintenance.TOMORROW: f"Until tomorrow, {tomorrow.day} {tomorrow:%b, %H:%M}",
        UNTIL_RESUMED: "Until I resume it",
    }


def explain(agent: Agent) -> str:
    return EXPLANATION


def pause(agent: Agent, by: str, reason: str, now: datetime, choice: str = "") -> str:
    """Raises ApiError 422 without a valid choice: nothing may stay silent for ever because of one tap."""
    if choice not in KEYS:
        raise ApiError(422, "invalid", "Choose how long monitoring is paused.")
    zone = timezone.get_current_timezone()
    until = None if choice == UNTIL_RESUMED else maintenance.end_of(choice, now.astimezone(zone))
    services.pause(agent=agent, actor=by, now=now, until=until)
    ends = f"until {exact(until, zone)}" if until else "until somebody resumes it"
    return f"Monitoring of {agent} is paused {ends}. Heartbeats are stored; there are no alerts."


def resume(agent: Agent, by: str, reason: str, now: datetime) -> str:
    services.resume(agent=agent, actor=by, now=now)
    return f"Monitoring of {agent} resumed."


def ask(request: HttpRequest, agents: Iterable[Agent]) -> TemplateResponse:
    """The page that asks how long these agents are paused."""
    rows = sorted(agents, key=lambda agent: (agent.project.name, agent.name))
    context = {
        **admin.site.each_context(request),
        "title": "Pause monitoring",
        "opts": Agent._meta,
        "agents": rows,
        "choices": lengths(),
        "explanation": EXPLANATION,
        "ids": ",".join(str(agent.pk) for agent in rows),
        "back": selection.back(request),
    }
    return TemplateResponse(request, "agents/pause_selected.html", context)
