"""Teams and projects."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from teams import prices, room, services
from teams.forms import TIME_ZONES
from teams.models import Project, Team, User
from teams.roles import Action
from teams.scoping import TeamAdmin, TeamTabularInline

GRACE_LEAST = 5


def actor(request: HttpRequest) -> str:
    """The person, as the audit log names them."""
    return request.user.email if isinstance(request.user, User) else ""


class ProjectsOfTeam(TeamTabularInline):
    model = Project
    team_path = "team"
    fields = ["name", "strict", "time_zone"]
    show_change_link = True
    add_action = change_action = delete_action = None


@admin.register(Team)
class TeamPage(TeamAdmin):
    team_path = "pk"
    add_action = None
    change_action = delete_action = Action.OWN
    list_display = ["name", "created_at"]
    search_fields = ["name"]
    fields = ["name", "created_at"]
    readonly_fields = ["created_at"]
    inlines = [ProjectsOfTeam]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if form.changed_data:
            services.audit(team=obj, actor=actor(request), action="team.changed", target=obj.name)


class ProjectForm(forms.ModelForm[Project]):
    class Meta:
        model = Project
        fields = ["team", "name", "strict", "default_grace", "time_zone", "monthly_budget_usd", "prices"]

    def clean_default_grace(self) -> int | None:
        grace: int | None = self.cleaned_data["default_grace"]
        if grace is not None and grace < GRACE_LEAST:
            raise forms.ValidationError(f"At least {GRACE_LEAST} seconds: a heartbeat may be that late on its way.")
        return grace

    def clean_monthly_budget_usd(self) -> Decimal | None:
        budget: Decimal | None = self.cleaned_data["monthly_budget_usd"]
        if budget is not None and budget < 0:
            raise forms.ValidationError("A budget is 0 or more; leave it empty for none.")
        return budget

    def clean_prices(self) -> list[dict[str, Any]]:
        written = self.cleaned_data["prices"] or []
        why = prices.problem(written)
        if why is not None:
            raise forms.ValidationError(why)
        return list(written)


@admin.register(Project)
class ProjectPage(TeamAdmin):
    team_path = "team"
    add_action = change_action = delete_action = Action.MANAGE
    form = ProjectForm
    fields = ["team", "name", "time_zone", "default_grace", "strict", "monthly_budget_usd", "prices"]
    list_display = ["name", "team", "strict", "time_zone", "created_at"]
    list_filter = ["team"]
    list_select_related = ["team"]
    search_fields = ["name"]

    def get_readonly_fields(self, request: HttpRequest, obj: Project | None = None) -> list[str]:
        return ["team"] if obj else []

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "time_zone":
            db_field = type(db_field)(name="time_zone", default="UTC", max_length=50, choices=TIME_ZONES)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            room.require_room(team_id=obj.team_id, what="projects")
            obj.pk = services.create_project(team=obj.team, name=obj.name, actor=actor(request)).pk
        obj.save(force_update=True)
        if change and form.changed_data:
            data = {"fields": list(form.changed_data)}
            services.audit(team=obj.team, actor=actor(request), action="project.changed", target=obj.name, data=data)

    def delete_model(self, request: HttpRequest, obj: Project) -> None:
        services.audit(team=obj.team, actor=actor(request), action="project.deleted", target=obj.name)
        obj.delete()

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for project in queryset:
            self.delete_model(request, project)
