"""Selecting agents in a table, and the buttons that act on the selection: actions of the list of agents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from agents.models import Agent
from agents.reporting.agent_status import AgentStatus
from teams.access import allowed
from teams.roles import Action


class BulkAction(NamedTuple):
    """A button that submits the name of one of the list's actions."""

    action: str
    label: str
    icon: str
    tone: str = "plain"


OPERATE: Final = (
    BulkAction("pause_selected", "Pause monitoring…", "pause_circle"),
    BulkAction("resume_selected", "Resume monitoring", "play_circle"),
    BulkAction("maintenance_selected", "Schedule maintenance…", "engineering"),
)
DELETE: Final = BulkAction("delete_selected", "Delete…", "delete", "danger")


@dataclass(frozen=True, slots=True)
class Selection:
    """For `agents/selection.html`. `teams` are those whose agents the person may select; `total` counts all matches."""

    actions: list[BulkAction]
    teams: set[int]
    total: int
    back: str


def selection_for(
    request: HttpRequest, rows: Iterable[AgentStatus], total: int, back: str, actions: Iterable[BulkAction] = OPERATE
) -> Selection:
    """For a table with these rows; `back` is the page to return to after the action."""
    shown = {row.agent.project.team_id for row in rows}
    teams = {team for team in shown if allowed(request, Action.OPERATE, team)}
    permitted = admin.site.get_model_admin(Agent).get_actions(request) if teams else {}
    return Selection([action for action in actions if action.action in permitted], teams, total, back)


def back(request: HttpRequest) -> str:
    """The page on which the agents were selected; the list of agents if unknown or on another site."""
    wanted = (request.POST if request.method == "POST" else request.GET).get("back", "")
    is_local = wanted.startswith("/") and url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
    return wanted if is_local else reverse("admin:agents_agent_changelist")
