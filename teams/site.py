"""The admin's front door: open to members of a team and to the operator; signing in is allauth's, so that MFA holds."""

from typing import Any, ClassVar

from django.contrib.auth import logout as sign_out
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, reverse
from unfold.sites import UnfoldAdminSite

from teams.models import User
from teams.tenant_admin import roles_of


class Site(UnfoldAdminSite):
    """Every page of the product behind the sign-in."""

    empty_value_display = "–"
    # Pages that belong to no model: an app adds its own.
    pages: ClassVar[list[URLPattern]] = []

    def extra_urls(self) -> list[URLPattern]:
        return self.pages

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        if not isinstance(user, User) or not user.is_active:
            return False
        return user.is_superuser or bool(roles_of(request))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """To the sign-in page; who is signed in but in no team yet is told how to get into one."""
        if self.has_permission(request):
            return redirect("admin:index")
        if request.user.is_authenticated:
            return redirect("teams:teams")
        return redirect_to_login(request.GET.get("next") or reverse("admin:index"), reverse("account_login"))

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Only a POST signs out; a link asks first."""
        if request.method == "POST":
            sign_out(request)
            return redirect("teams:landing")
        return redirect("account_logout")

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return redirect("account_change_password")
