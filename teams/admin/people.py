"""People and failed sign-ins, for the operator. Everyone else changes their own profile on the account pages."""

from typing import Any

from axes.models import AccessAttempt
from django.contrib import admin
from django.http import HttpRequest

from teams.models import Membership, User
from teams.scoping import OperatorAdmin, TeamTabularInline


class MembershipsOfPerson(TeamTabularInline):
    model = Membership
    team_path = "team"
    add_action = change_action = delete_action = None
    fields = ["team", "role", "created_at"]
    readonly_fields = ["created_at"]


@admin.register(User)
class PersonPage(OperatorAdmin):
    list_display = ["email", "name", "is_active", "is_superuser", "last_login", "date_joined"]
    list_filter = ["is_active", "is_superuser"]
    search_fields = ["email", "name"]
    fields = ["email", "name", "time_zone", "is_active", "is_superuser", "last_login", "date_joined"]
    readonly_fields = ["email", "last_login", "date_joined"]
    inlines = [MembershipsOfPerson]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """People come by sign-up, by invitation or by `manage.py create_project`."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A team must not lose its last owner: switch the account off instead."""
        return False


@admin.register(AccessAttempt)
class FailedSignInPage(OperatorAdmin):
    """Deleting a row lets that person try again at once."""

    list_display = ["username", "ip_address", "failures_since_start", "attempt_time"]
    search_fields = ["username", "ip_address"]
    fields = ["username", "ip_address", "user_agent", "path_info", "failures_since_start", "attempt_time"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    has_change_permission = has_add_permission
