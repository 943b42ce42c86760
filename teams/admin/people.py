"""People and failed sign-ins, for the operator. Everyone else changes their own profile on the account pages."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from teams.changelists import Empty, OperatorList, counted
from teams.models import FailedSignIn, Membership, User
from teams.tenant_admin import TeamTabularInline

LOCKING = (
    f"After {settings.AXES_FAILURE_LIMIT} wrong passwords for one account from one host, that host waits "
    f"{60 * settings.AXES_COOLOFF_TIME:.0f} minutes. Deleting its row here lets it try again at once."
)


class MembershipsOfPerson(TeamTabularInline):
    model = Membership
    team_path = "team"
    add_action = change_action = delete_action = None
    fields = ["team", "role", "created_at"]
    readonly_fields = ["created_at"]


class AccountFilter(admin.SimpleListFilter):
    title = parameter_name = "account"
    QUERIES = {
        "on": Q(is_active=True),
        "off": Q(is_active=False),
        "operator": Q(is_superuser=True),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in self.QUERIES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        return queryset.filter(self.QUERIES.get(self.value() or "", Q()))


@admin.register(User)
class PersonPage(OperatorList):
    table_template = "teams/admin/people_table.html"
    list_display = ["email"]  # in words; the table shows more
    list_filter = [AccountFilter]
    search_fields = ["email", "name"]
    search_help_text = "Search names and addresses"
    ordering = ["email"]
    actions = None
    fields = ["email", "name", "time_zone", "is_active", "is_superuser", "last_login", "date_joined"]
    readonly_fields = ["email", "last_login", "date_joined"]
    inlines = [MembershipsOfPerson]
    empty = Empty("Nobody yet", "People come by sign-up or by the invitation of a team.")

    def table(self, request: HttpRequest, found: ChangeList, now: datetime) -> dict[str, Any]:
        rows = list(found.result_list)
        counted(rows, "memberships")
        return {"rows": rows}

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """People come by sign-up, by invitation or by `manage.py create_project`."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A team must not lose its last owner: switch the account off instead."""
        return False


@admin.register(FailedSignIn)
class FailedSignInPage(OperatorList):
    """Deleting a row lets that person try again at once."""

    table_template = "teams/admin/failed_table.html"
    list_display = ["username"]  # in words; the table shows more
    search_fields = ["username", "ip_address"]
    search_help_text = "Search e-mail addresses and hosts"
    ordering = ["-attempt_time"]
    fields = ["username", "ip_address", "user_agent", "path_info", "failures_since_start", "attempt_time"]
    explains_deletion = "That host may try again at once."
    empty = Empty("No failed sign-in", LOCKING)

    def table(self, request: HttpRequest, found: ChangeList, now: datetime) -> dict[str, Any]:
        return {**super().table(request, found, now), "locking": LOCKING}

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    has_change_permission = has_add_permission
