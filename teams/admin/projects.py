"""Teams and projects."""

import re
import secrets
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.widgets import UnfoldBooleanSwitchWidget

from teams import plan_gate, services
from teams.changelists import Empty, TableList, counted
from teams.forms import TIME_ZONES, PricesField
from teams.models import Project, Team, User
from teams.prices import EXAMPLE
from teams.roles import Action
from teams.tenant_admin import roles_of

MIN_GRACE = 5
# A name that people chose; 144 random bits are no such thing, for they have large letters or are longer.
NAMED = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,48})[a-z0-9]")
SECRET_BYTES = 18


def actor(request: HttpRequest) -> str:
    """The person, as the audit log names them."""
    return request.user.email if isinstance(request.user, User) else ""


@admin.register(Team)
class TeamPage(TableList):
    team_path = "pk"
    add_action = None
    change_action = delete_action = Action.OWN
    actions = None  # each is deleted by itself, its name typed
    table_template = "teams/admin/teams_table.html"
    change_form_template = "teams/admin/team.html"
    list_display = ["name"]  # in words; the table shows more
    search_fields = ["name"]
    search_help_text = "Search names"
    fields = ["name"]
    destroys = ("projects", "projects__agents", "projects__channels", "projects__api_keys", "memberships")
    explains_deletion = (
        "All history, incidents and the audit log go with them, and every key stops at once. This cannot be undone."
    )
    types_name = True
    empty = Empty("No team yet", "Start one under “Your teams”, or open the link of an invitation you were sent.")

    def table(self, request: HttpRequest, found: ChangeList, now: datetime) -> dict[str, Any]:
        rows = list(found.result_list)
        counted(rows, "memberships", "projects")
        return {"rows": rows, "own_roles": roles_of(request)}

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        team: Team | None = kwargs.get("obj")
        if team is not None:
            counted([team], "memberships")
            context |= {"team": team, "projects": team.projects.order_by("name"), "now": timezone.now()}
            context["own_role"] = roles_of(request).get(team.pk, "")
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        services.rename_team(team=Team.objects.get(pk=obj.pk), name=obj.name, actor=actor(request))

    def delete_model(self, request: HttpRequest, obj: Team) -> None:
        services.end_team(team=obj, actor=actor(request), now=timezone.now())


class ProjectForm(forms.ModelForm[Project]):
    prices = PricesField(
        label="Own prices",
        rows=4,
        help_text=(
            "Dollars a million tokens where the price list is wrong or silent. One model a line, the first that "
            f"matches counts: “{EXAMPLE}”. Further words: provider, cache_read, cache_write."
        ),
    )
    new_address = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        label="Make a new secret address",
        help_text="The page and all badges move there; what links to the old address ends.",
    )

    class Meta:
        model = Project
        fields = (
            *("team", "name", "strict", "default_grace", "time_zone", "monthly_budget_usd", "prices"),
            *("status_page", "status_address"),
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "status_page" in self.fields:
            self.fields["status_page"].required = False

    def clean_default_grace(self) -> int | None:
        grace: int | None = self.cleaned_data["default_grace"]
        if grace is not None and grace < MIN_GRACE:
            raise forms.ValidationError(f"At least {MIN_GRACE} seconds: a heartbeat may be that late on its way.")
        return grace

    def clean_monthly_budget_usd(self) -> Decimal | None:
        budget: Decimal | None = self.cleaned_data["monthly_budget_usd"]
        if budget is not None and budget < 0:
            raise forms.ValidationError("A budget is 0 or more; leave it empty for none.")
        return budget

    def clean(self) -> dict[str, Any]:
        """The address that goes with the page: a secret one is kept as long as it stays secret."""
        cleaned: dict[str, Any] = super().clean() or {}
        page = cleaned.get("status_page") or self.instance.status_page
        address = cleaned.get("status_address") or None
        if page == Project.StatusPage.NAMED and not (address and NAMED.fullmatch(address)):
            self.add_error("status_address", "A name of 3 to 50 small letters, digits and hyphens.")
        renewed = cleaned.get("new_address") or "status_page" in self.changed_data
        if page == Project.StatusPage.SECRET and renewed:
            address = secrets.token_urlsafe(SECRET_BYTES)
        elif page != Project.StatusPage.NAMED:
            address = self.initial.get("status_address") if page == Project.StatusPage.SECRET else None
        return {**cleaned, "status_page": page, "status_address": address}


@admin.register(Project)
class ProjectPage(TableList):
    team_path = "team"
    add_action = change_action = delete_action = Action.MANAGE
    actions = None  # each is deleted by itself, its name typed
    form = ProjectForm
    table_template = "teams/admin/projects_table.html"
    list_display = ["name", "team"]  # in words; the table shows more
    list_filter = ["team"]
    list_select_related = ["team"]
    search_fields = ["name"]
    search_help_text = "Search names"
    # By what one comes for.
    sections: ClassVar[dict[str, tuple[str, ...]]] = {
        "Name and time": ("team", "name", "time_zone"),
        "Agents": ("strict", "default_grace"),
        "Money": ("monthly_budget_usd", "prices"),
        "Public status page": ("status_page", "status_address", "new_address", "public_page"),
    }
    destroys = ("agents", "channels", "api_keys")
    explains_deletion = "Their history and incidents go with them, and the keys stop at once. This cannot be undone."
    types_name = True
    empty = Empty(
        "No project yet",
        "A project holds the agents, keys and channels of one thing you run, with a time zone and a budget of its own.",
        "Make a project",
        "An admin or an owner of the team makes projects.",
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """A secret address can be renewed where there is one."""
        if obj is None:
            return [(None, {"fields": self.sections["Name and time"]})]
        hidden = () if obj.status_page == Project.StatusPage.SECRET else ("new_address",)
        shown = {title: [one for one in fields if one not in hidden] for title, fields in self.sections.items()}
        return [(title, {"fields": fields}) for title, fields in shown.items()]

    def get_readonly_fields(self, request: HttpRequest, obj: Project | None = None) -> list[str]:
        return ["team", "public_page"] if obj else []

    def table(self, request: HttpRequest, found: ChangeList, now: datetime) -> dict[str, Any]:
        rows = list(found.result_list)
        counted(rows, "agents", "channels", "api_keys")
        return {"rows": rows}

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        project: Project | None = kwargs.get("obj")
        if project is not None:
            counted([project], "agents", "channels", "api_keys")
            context |= {"project": project, "title": project.name}
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="Its page")
    def public_page(self, project: Project) -> str:
        # As it is, not as it was just typed.
        address = Project.objects.filter(pk=project.pk).values_list("status_address", flat=True).first()
        if not address:
            return "–"
        path = reverse("public:status", args=[address])
        style = "text-primary-600 dark:text-primary-500 font-medium"
        return format_html('<a class="{}" href="{}">{}</a>', style, path, settings.BASE_URL + path)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "time_zone":
            db_field = type(db_field)(name="time_zone", default="UTC", max_length=50, choices=TIME_ZONES)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            plan_gate.require_room(team_id=obj.team_id, what="projects")
            obj.pk = services.create_project(team=obj.team, name=obj.name, actor=actor(request)).pk
        obj.save(force_update=True)
        if change and form.changed_data:
            data = {"fields": list(form.changed_data)}
            told = {"action": "project.changed", "target": obj.name, "of": obj, "data": data}
            services.audit(team=obj.team, actor=actor(request), **told)

    def delete_model(self, request: HttpRequest, obj: Project) -> None:
        services.end_project(project=obj, actor=actor(request), now=timezone.now())
