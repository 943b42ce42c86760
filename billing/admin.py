"""The plan: what each team has of it. The operator moves teams between plans."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template.response import TemplateResponse

from billing import limits
from billing.models import Subscription
from billing.services import set_plan
from teams.admin.projects import actor
from teams.models import Team
from teams.scoping import TeamAdmin, allowed_operator, teams_of


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
        plans = [(team, limits.usage_of(team.pk)) for team in teams_of(request.user).order_by("name")[:100]]
        context = {
            **self.admin_site.each_context(request),
            "title": "Plan and usage",
            "opts": self.opts,
            "plans": plans,
            "may_change": allowed_operator(request),
        }
        return TemplateResponse(request, "billing/plan.html", context)
