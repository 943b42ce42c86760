"""The admin site: open to team members and the operator. Sign-in is allauth's, so that MFA applies."""

from typing import Any, ClassVar

from django.contrib.auth import logout as sign_out
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, reverse
from unfold.sites import UnfoldAdminSite

from teams.access import roles_of
from teams.models import User


class Site(UnfoldAdminSite):
    """Every page that requires sign-in, except those of the account itself."""

    empty_value_display = "–"
    # Pages without a model; apps append theirs in `ready()`.
    pages: ClassVar[list[URLPattern]] = []

    def extra_urls(self) -> list[URLPattern]:
        return self.pages

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        if not isinstance(user, User) or not user.is_active:
            return False
        return user.is_superuser or bool(roles_of(request))

    def app_index(self, request: HttpRequest, app_label: str, extra_context: dict[str, Any] | None = None) -> Any:
        """Django's bare list of an app's models; nothing links to it."""
        return redirect("admin:index")

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Redirect to the sign-in page, or to the teams page if signed in without a team."""
        if self.has_permission(request):
            return redirect("admin:index")
        if request.user.is_authenticated:
            return redirect("teams:teams")
        return redirect_to_login(request.GET.get("next") or reverse("admin:index"), reverse("account_login"))

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Only a POST signs out; a link asks for confirmation."""
        if request.method == "POST":
            sign_out(request)
            return redirect("teams:landing")
        return redirect("account_logout")

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return redirect("account_change_password")

    def password_change_done(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return redirect("account_change_password")
