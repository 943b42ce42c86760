"""Teams and projects."""

import re
import secrets
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from allauth.account.decorators import reauthentication_required
from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.widgets import UnfoldBooleanSwitchWidget

from teams import plan_gate, portability, services
from teams.access import roles_of
from teams.changelists import Empty, TeamTableAdmin, add_counts
from teams.forms import TIME_ZONES, PricesField
from teams.links import on_base_url
from teams.models import Project, Team, User
from teams.prices import EXAMPLE
from teams.roles import Action
from teams.sorting import Sort
from teams.tenant_admin import or_404

MIN_GRACE = 5  # seconds
# Name of a public status page. Never matches a secret address, whose random part has other characters or is longer.
PAGE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,48})[a-z0-9]")
SECRET_BYTES = 18  # 144 random bits
# Columns of a project whose changes the audit log shows.
AUDITED = (
    *("name", "strict", "bind_names", "agent_rule", "default_grace", "time_zone", "monthly_budget_usd", "prices"),
    "status_page",
)


def actor(request: HttpRequest) -> str:
    """The signed-in person, as named in the audit log."""
    return request.user.email if isinstance(request.user, User) else ""


@admin.register(Team)
class TeamPage(TeamTableAdmin):
    team_path = "pk"
    add_action = None
    change_action = delete_action = Action.OWN
    actions = None  # deleting needs the name typed, so one at a time
    table_template = "teams/admin/teams_table.html"
    change_form_template = "teams/admin/team.html"
    list_display = ["name"]  # the table template shows more
    search_fields = ["name"]
    search_help_text = "Search names"
    fields = ["name", "require_second_factor"]
    sorts = (Sort("name", "Team", "name"), Sort("created", "Created", "created_at", newest_first=True))
    destroys = ("projects", "projects__agents", "projects__channels", "projects__api_keys", "memberships")
    explains_deletion = (
        "All history, incidents and the audit log are deleted, and every API key stops working immediately. "
        "This cannot be undone."
    )
    confirm_by_name = True
    empty = Empty("No teams yet", "Create one under “Your teams”, or open the link in your invitation.")

    def table(self, request: HttpRequest, changelist: ChangeList, now: datetime) -> dict[str, Any]:
        rows = list(changelist.result_list)
        add_counts(rows, "memberships", "projects")
        return {"rows": rows, "own_roles": roles_of(request)}

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        team: Team | None = kwargs.get("obj")
        if team is not None:
            add_counts([team], "memberships")
            context |= {"team": team, "projects": team.projects.order_by("name"), "now": timezone.now()}
            context["own_role"] = roles_of(request).get(team.pk, "")
        return super().render_change_form(request, context, *args, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        export = self.admin_site.admin_view(reauthentication_required(self.export))
        return [path("<int:pk>/export/", export, name="teams_team_export"), *super().get_urls()]

    def export(self, request: HttpRequest, pk: int) -> StreamingHttpResponse:
        """All data of the team, for its owners. Asks for the password again: it is what a thief would want."""
        team = or_404(self.get_queryset(request).filter(pk=pk).first())
        if not self.has_change_permission(request, team):
            raise PermissionDenied
        services.audit(team=team, actor=actor(request), action="team.exported", target=team.name, of=team)
        headers = {"Content-Disposition": f'attachment; filename="team-{pk}.jsonl"'}
        return StreamingHttpResponse(portability.lines(team), content_type="application/x-ndjson", headers=headers)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        team = Team.objects.get(pk=obj.pk)
        services.rename_team(team=team, name=obj.name, actor=actor(request))
        if isinstance(request.user, User):
            services.require_second_factor(team=team, required=obj.require_second_factor, by=request.user)

    def delete_model(self, request: HttpRequest, obj: Team) -> None:
        services.delete_team(team=obj, actor=actor(request), now=timezone.now())


class ProjectForm(forms.ModelForm[Project]):
    prices = PricesField(
        label="Custom prices",
        rows=4,
        help_text=(
            "USD per million tokens, overriding the price list. One model per line; the first match wins: "
            f"“{EXAMPLE}”. Optional: provider, tier, cache_read, cache_write, cache_write_1h, input_audio, "
            "output_audio."
        ),
    )
    new_address = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        label="Generate a new link",
        help_text="The status page and all badges move to a new URL. Links to the old one stop working.",
    )

    class Meta:
        model = Project
        fields = (
            *(
                "team",
                "name",
                "strict",
                "bind_names",
                "agent_rule",
                "default_grace",
                "time_zone",
                "monthly_budget_usd",
                "prices",
            ),
            *("status_page", "status_address"),
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "status_page" in self.fields:
            self.fields["status_page"].required = False

    def clean_default_grace(self) -> int | None:
        grace: int | None = self.cleaned_data["default_grace"]
        if grace is not None and grace < MIN_GRACE:
            raise forms.ValidationError(f"At least {MIN_GRACE} seconds: a heartbeat can take that long to arrive.")
        return grace

    def clean_monthly_budget_usd(self) -> Decimal | None:
        budget: Decimal | None = self.cleaned_data["monthly_budget_usd"]
        if budget is not None and budget < 0:
            raise forms.ValidationError("Must be 0 or more. Leave it empty for no budget.")
        return budget

    def clean(self) -> dict[str, Any]:
        """Set the address that fits the kind of page. A secret address is kept while the page stays unlisted."""
        cleaned: dict[str, Any] = super().clean() or {}
        page = cleaned.get("status_page") or self.instance.status_page
        address = cleaned.get("status_address") or None
        if page == Project.StatusPage.NAMED and not (address and PAGE_NAME.fullmatch(address)):
            self.add_error("status_address", "Use 3 to 50 lowercase letters, digits and hyphens.")
        renewed = cleaned.get("new_address") or "status_page" in self.changed_data
        if page == Project.StatusPage.SECRET and renewed:
            address = secrets.token_urlsafe(SECRET_BYTES)
        elif page != Project.StatusPage.NAMED:
            address = self.initial.get("status_address") if page == Project.StatusPage.SECRET else None
        return {**cleaned, "status_page": page, "status_address": address}


@admin.register(Project)
class ProjectPage(TeamTableAdmin):
    team_path = "team"
    add_action = change_action = delete_action = Action.MANAGE
    actions = None  # deleting needs the name typed, so one at a time
    form = ProjectForm
    table_template = "teams/admin/projects_table.html"
    list_display = ["name", "team"]  # the table template shows more
    list_filter = ["team"]
    list_select_related = ["team"]
    search_fields = ["name"]
    search_help_text = "Search names"
    sorts = (
        Sort("name", "Project", "name"),
        Sort("zone", "Time zone", "time_zone"),
        Sort("created", "Created", "created_at", newest_first=True),
    )
    sections: ClassVar[dict[str, tuple[str, ...]]] = {
        "General": ("team", "name", "time_zone"),
        "Agents": ("strict", "bind_names", "agent_rule", "default_grace"),
        "Spend": ("monthly_budget_usd", "prices"),
        "Public status page": ("status_page", "status_address", "new_address", "public_page"),
    }
    destroys = ("agents", "channels", "api_keys")
    explains_deletion = (
        "All history and incidents are deleted, and every API key stops working immediately. This cannot be undone."
    )
    confirm_by_name = True
    empty = Empty(
        "No projects yet",
        "A project has its own agents, API keys, channels, time zone and budget.",
        "Create project",
        "Only admins and owners can create projects.",
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Only an unlisted page has a link to regenerate."""
        if obj is None:
            return [(None, {"fields": self.sections["General"]})]
        hidden = () if obj.status_page == Project.StatusPage.SECRET else ("new_address",)
        shown = {title: [name for name in fields if name not in hidden] for title, fields in self.sections.items()}
        return [(title, {"fields": fields}) for title, fields in shown.items()]

    def get_readonly_fields(self, request: HttpRequest, obj: Project | None = None) -> list[str]:
        return ["team", "public_page"] if obj else []

    def table(self, request: HttpRequest, changelist: ChangeList, now: datetime) -> dict[str, Any]:
        rows = list(changelist.result_list)
        add_counts(rows, "agents", "channels", "api_keys")
        return {"rows": rows}

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        project: Project | None = kwargs.get("obj")
        if project is not None:
            add_counts([project], "agents", "channels", "api_keys")
            context |= {"project": project, "title": project.name, "subtitle": None}
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="URL")
    def public_page(self, project: Project) -> str:
        # From the database: `project` may hold rejected form input.
        address = Project.objects.filter(pk=project.pk).values_list("status_address", flat=True).first()
        if not address:
            return "–"
        path = reverse("public:status", args=[address])
        style = "text-primary-600 dark:text-primary-500 font-medium"
        return format_html('<a class="{}" href="{}">{}</a>', style, path, on_base_url(path))

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "time_zone":
            db_field = type(db_field)(name="time_zone", default="UTC", max_length=50, choices=TIME_ZONES)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            plan_gate.require_room(team_id=obj.team_id, what="projects")
            obj.pk = services.create_project(team=obj.team, name=obj.name, actor=actor(request)).pk
        before = Project.objects.get(pk=obj.pk)
        obj.save(force_update=True)
        if change and (data := _changes(before, obj)):
            services.audit(
                team=obj.team, actor=actor(request), action="project.changed", target=obj.name, of=obj, data=data
            )

    def delete_model(self, request: HttpRequest, obj: Project) -> None:
        services.delete_project(project=obj, actor=actor(request), now=timezone.now())


def _changes(before: Project, after: Project) -> dict[str, Any]:
    """For the audit log. The address of a status page is only for those who are given it."""
    pairs = {name: (getattr(before, name), getattr(after, name)) for name in AUDITED}
    changed = {name: {"from": _plain(old), "to": _plain(new)} for name, (old, new) in pairs.items() if old != new}
    return changed | ({"status_address": "replaced"} if before.status_address != after.status_address else {})


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else value
