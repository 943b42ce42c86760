"""Choosing agents in a table, and the buttons that act on all that are chosen: actions of the list of agents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from agents.models import Agent
from agents.reporting.agent_status import Standing
from teams.access import allowed
from teams.roles import Action


class Act(NamedTuple):
    """A button that sends the name of one of the list's actions."""

    action: str
    label: str
    icon: str
    tone: str = "plain"


OPERATING: Final = (
    Act("pause_selected", "Pause", "pause_circle"),
    Act("resume_selected", "Resume", "play_circle"),
    Act("maintenance_selected", "Maintenance…", "engineering"),
)
DELETING: Final = Act("delete_selected", "Delete…", "delete", "danger")


@dataclass(frozen=True, slots=True)
class Choosing:
    """For `agents/choosing.html`: `teams` are those of whose agents the person may choose, `total` all that match."""

    acts: list[Act]
    teams: set[int]
    total: int
    back: str


def choosing(
    request: HttpRequest, rows: Iterable[Standing], total: int, back: str, acts: Iterable[Act] = OPERATING
) -> Choosing:
    """For a table with these rows, to whose page a person comes `back`."""
    own = {row.agent.project.team_id for row in rows}
    teams = {team for team in own if allowed(request, Action.OPERATE, team)}
    actions = admin.site.get_model_admin(Agent).get_actions(request) if teams else {}
    return Choosing([act for act in acts if act.action in actions], teams, total, back)


def back(request: HttpRequest) -> str:
    """The page of this site on which the agents were chosen; the list, if that is not said."""
    asked = (request.POST if request.method == "POST" else request.GET).get("back", "")
    is_ours = asked.startswith("/") and url_has_allowed_host_and_scheme(asked, allowed_hosts=None)
    return asked if is_ours else reverse("admin:agents_agent_changelist")
