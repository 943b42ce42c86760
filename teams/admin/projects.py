"""Teams and projects."""

import re
import secrets
from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.widgets import UnfoldBooleanSwitchWidget

from teams import prices, room, services
from teams.forms import TIME_ZONES
from teams.models import Project, Team, User
from teams.roles import Action
from teams.scoping import TeamAdmin, TeamTabularInline

GRACE_LEAST = 5
# A name that people chose; 144 random bits are no such thing, for they have large letters or are longer.
NAMED = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,48})[a-z0-9]")
SECRET_BYTES = 18


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
class ProjectPage(TeamAdmin):
    team_path = "team"
    add_action = change_action = delete_action = Action.MANAGE
    form = ProjectForm
    fields = (
        *("team", "name", "time_zone", "default_grace", "strict", "monthly_budget_usd", "prices"),
        *("status_page", "status_address", "new_address", "public_page"),
    )
    readonly_fields = ("public_page",)
    list_display = ["name", "team", "strict", "time_zone", "created_at"]
    list_filter = ["team"]
    list_select_related = ["team"]
    search_fields = ["name"]

    def get_fields(self, request: HttpRequest, obj: Project | None = None) -> Any:
        """A secret address can be renewed where there is one."""
        is_secret = obj is not None and obj.status_page == Project.StatusPage.SECRET
        return [name for name in self.fields if is_secret or name != "new_address"]

    def get_readonly_fields(self, request: HttpRequest, obj: Project | None = None) -> list[str]:
        return ["team", "public_page"] if obj else ["public_page"]

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
