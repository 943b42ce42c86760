"""The plan: what each team has of it. The operator moves teams between plans."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone

from billing import limits, plans
from billing.gateway import gateway
from billing.models import Subscription
from billing.services import set_plan
from teams.admin.projects import actor
from teams.models import Team
from teams.scoping import TeamAdmin, allowed_operator, teams_of

TEAMS_MOST = 50
REFUSED_SHOWN = 20


def _shown(team: Team, now: datetime) -> dict[str, Any]:
    """All that the page says of one team."""
    usage, days = limits.usage_of(team.pk), limits.history(team.pk, now)
    larger = plans.ALL[plans.ALL.index(usage.plan) + 1 :]
    return {
        "team": team,
        "usage": usage,
        "meters": [_meter(*row) for row in usage.rows()],
        "days": days,
        "most": max(day.heartbeats for day in days),
        "without_place": limits.without_place(team.pk),
        "refused": team.refusals.select_related("project")[:REFUSED_SHOWN],
        "offer": gateway().offer(team, larger[0]) if larger else None,
    }


def _meter(what: str, used: int, limit: int | None) -> dict[str, Any]:
    full = limit is not None and used >= limit
    return {"what": what, "used": used, "limit": limit, "full": full, "share": min(100, 100 * used // (limit or 1))}


@admin.register(Subscription)
class PlanPage(TeamAdmin):
    team_path = "team"
    add_action = change_action = delete_action = None
    fields = ["team", "plan", "since"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return allowed_operator(request)

    has_change_permission = has_add_permission

    def get_readonly_fields(self, request: HttpRequest, obj: Subscription | None = None) -> list[str]:
        return ["team", "since"] if obj else ["since"]

    def _choices(self, db_field: Any, request: HttpRequest, rows: Any) -> Any:
        return Team.objects.all() if allowed_operator(request) else Team.objects.none()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        set_plan(team=obj.team, plan=obj.plan, actor=actor(request))

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> TemplateResponse:
        """Not a list of rows: a team without one is on the default plan, and what people look for is what is left."""
        teams = teams_of(request.user).order_by("name")[:TEAMS_MOST]
        context = {
            **self.admin_site.each_context(request),
            "title": "Plan and usage",
            "opts": self.opts,
            "plans": [_shown(team, timezone.now()) for team in teams],
            "may_change": allowed_operator(request),
        }
        return TemplateResponse(request, "billing/plan.html", context)
