"""People and failed sign-ins, for the operator. Everyone else edits their own profile on the account pages."""

from datetime import datetime
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from teams import account_log, times
from teams.admin.projects import actor
from teams.changelists import Empty, OperatorTableAdmin, add_counts
from teams.models import FailedSignIn, Membership, User
from teams.sorting import Sort
from teams.tenant_admin import TeamTabularInline

LOCKOUT_RULE = (
    f"After {settings.AXES_FAILURE_LIMIT} failed attempts for one account, an IP address is locked out for "
    f"{60 * settings.AXES_COOLOFF_TIME:.0f} minutes. Delete its row to lift the lockout."
)


def _exact(at: datetime) -> str:
    return times.exact(at, timezone.get_current_timezone())


class MembershipsOfPerson(TeamTabularInline):
    model = Membership
    verbose_name_plural = "teams"
    team_path = "team"
    add_action = change_action = delete_action = None
    fields = ["team", "role", "joined"]
    readonly_fields = ["joined"]

    @admin.display(description="Joined")
    def joined(self, obj: Membership) -> str:
        return _exact(obj.created_at)


class AccountFilter(admin.SimpleListFilter):
    title = parameter_name = "account"
    QUERIES = {
        "active": Q(is_active=True),
        "deactivated": Q(is_active=False),
        "operator": Q(is_superuser=True),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in self.QUERIES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        return queryset.filter(self.QUERIES.get(self.value() or "", Q()))


class PersonForm(forms.ModelForm[User]):
    class Meta:
        model = User
        fields = ["name", "time_zone", "is_active", "is_superuser"]
        labels = {"is_active": "Active", "is_superuser": "Operator"}
        help_texts = {
            "is_active": "A deactivated person cannot sign in.",
            "is_superuser": "Can see and change every team, and open the Operator pages.",
        }


@admin.register(User)
class PersonPage(OperatorTableAdmin):
    table_template = "teams/admin/people_table.html"
    form = PersonForm
    list_display = ["email"]  # the table template shows more
    list_filter = [AccountFilter]
    search_fields = ["email", "name"]
    search_help_text = "Search names and addresses"
    ordering = ["email"]
    sorts = (
        Sort("person", "Person", "email"),
        Sort("seen", "Last sign-in", "last_login", newest_first=True),
        Sort("joined", "Joined", "date_joined", newest_first=True),
    )
    actions = None
    fields = ["email", "name", "time_zone", "is_active", "is_superuser", "last_sign_in", "joined"]
    readonly_fields = ["email", "last_sign_in", "joined"]
    inlines = [MembershipsOfPerson]
    empty = Empty("No people yet", "People sign up, or join a team by invitation.")

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        changed = account_log.changes({name: form.initial.get(name) for name in form.changed_data}, form.cleaned_data)
        if changed:
            account_log.record(obj, "account.changed_by_operator", changed, actor=actor(request))

    @admin.display(description="Last sign-in")
    def last_sign_in(self, obj: User) -> str:
        return _exact(obj.last_login) if obj.last_login else "never"

    @admin.display(description="Joined")
    def joined(self, obj: User) -> str:
        return _exact(obj.date_joined)

    def table(self, request: HttpRequest, changelist: ChangeList, now: datetime) -> dict[str, Any]:
        rows = list(changelist.result_list)
        add_counts(rows, "memberships")
        return {"rows": rows}

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Accounts are created by sign-up, invitation or `manage.py create_project`."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A team must not lose its last owner: deactivate the account instead."""
        return False


@admin.register(FailedSignIn)
class FailedSignInPage(OperatorTableAdmin):
    """Deleting a row lifts the lockout."""

    table_template = "teams/admin/failed_sign_ins_table.html"
    list_display = ["username"]  # the table template shows more
    search_fields = ["username", "ip_address"]
    search_help_text = "Search e-mail and IP addresses"
    ordering = ["-attempt_time"]
    sorts = (
        Sort("email", "E-mail address", "username"),
        Sort("address", "IP address", "ip_address"),
        Sort("attempts", "Failed attempts", "failures_since_start", newest_first=True),
        Sort("last", "Last attempt", "attempt_time", newest_first=True),
    )
    fields = ["username", "ip_address", "user_agent", "path_info", "failures_since_start", "attempt_time"]
    explains_deletion = "The IP address can try again immediately."
    empty = Empty("No failed sign-ins", LOCKOUT_RULE)

    def table(self, request: HttpRequest, changelist: ChangeList, now: datetime) -> dict[str, Any]:
        return {**super().table(request, changelist, now), "lockout_rule": LOCKOUT_RULE}

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    has_change_permission = has_add_permission
