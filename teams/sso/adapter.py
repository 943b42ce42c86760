"""What allauth asks us during a sign-in through a provider."""

from __future__ import annotations

from typing import Any

import requests
import structlog
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from teams.access import allowed
from teams.errors import ApiError
from teams.models import User
from teams.roles import Action
from teams.sso import outgoing, services
from teams.sso.enforcement import Passed
from teams.sso.models import Protocol, SingleSignOn

log = structlog.get_logger(__name__)
PROVIDERS = {Protocol.OIDC.value: "sso-oidc", Protocol.SAML.value: "sso-saml"}

EXPIRED = "This sign-in has expired or was begun in another browser. Start again."


def refusal_page(request: HttpRequest, error: ApiError) -> HttpResponse:
    context = {"message": error.message, "test": getattr(request, "sign_on_test", None)}
    return render(request, "sso/refused.html", context, status=error.http_status)


class SignOnAdapter(DefaultSocialAccountAdapter):
    """Providers come from the teams' connections; who may enter is decided by `services.admit`."""

    def list_apps(
        self, request: HttpRequest | None, provider: str | None = None, client_id: str | None = None
    ) -> list[SocialApp]:
        rows = SingleSignOn.objects.filter(team__ended_at=None)
        return [_as_app(row) for row in (rows.filter(slug=provider) if provider else rows)]

    def get_requests_session(self) -> requests.Session:
        return outgoing.session()

    def is_auto_signup_allowed(self, request: HttpRequest, sociallogin: Any) -> bool:
        return False

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Everything about the assertion was checked. Find the person, or stop here with a page."""
        connection = SingleSignOn.objects.select_related("team").get(slug=sociallogin.account.provider)
        test = (sociallogin.state.get("data") or {}).get("test")
        try:
            if test is not None:
                raise ImmediateHttpResponse(_finish_test(request, connection, sociallogin.identity, test))
            user = services.admit(connection=connection, identity=sociallogin.identity, now=timezone.now())
        except ApiError as error:
            services.note_refusal(connection, sociallogin.identity, error)
            raise ImmediateHttpResponse(refusal_page(request, error)) from None
        sociallogin.user = sociallogin.account.user = user
        request.sign_on = Passed(connection.team_id, sociallogin.identity.strong)  # type: ignore[attr-defined]

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: Any = None,
        exception: Exception | None = None,
        extra_context: dict[str, Any] | None = None,
    ) -> None:
        """One page for all failures. The reason of an exception helps an owner who tests, and reveals no secret."""
        log.warning(
            "sign_on.failed", connection=provider.app.provider_id, error=str(error), reason=str(exception)[:300]
        )
        message = _reason(request, exception, extra_context or {})
        raise ImmediateHttpResponse(refusal_page(request, ApiError(403, "sign_on_failed", message)))


def _reason(request: HttpRequest, exception: Exception | None, context: dict[str, Any]) -> str:
    if isinstance(exception, requests.ConnectionError):
        return f"The identity provider could not be reached. {exception}"
    if request.GET.get("error") == "access_denied":
        return "Your provider refused the sign-in, or you cancelled it."
    if context.get("state") is None and exception is None:
        return EXPIRED
    return (
        "The identity provider’s answer was not valid. Start again; if that does not help, ask an owner of your team."
    )


def _finish_test(request: HttpRequest, connection: SingleSignOn, identity: Any, person: int) -> HttpResponse:
    """An owner tested the settings. They stay signed in as they are."""
    user = request.user
    if not isinstance(user, User) or user.pk != person or not allowed(request, Action.OWN, connection.team_id):
        raise ApiError(403, "sign_on_failed", "You signed out during the test. Start it again.")
    role = services.note_test(connection=connection, identity=identity, by=user, now=timezone.now())
    messages.success(request, f"The test succeeded: {identity.email} would sign in with the role {role.title()}.")
    return redirect("admin:sso_singlesignon_change", connection.pk)


def _as_app(connection: SingleSignOn) -> SocialApp:
    """allauth's form of a connection; never saved."""
    return SocialApp(
        provider=PROVIDERS[connection.protocol],
        provider_id=connection.slug,
        name=connection.name,
        client_id=connection.client_id or connection.slug,
        secret=str(connection.client_secret),
        settings={
            "issuer": connection.issuer,
            "extra_scopes": connection.extra_scopes,
            "role_claim": connection.role_claim,
            "saml": connection.saml,
        },
    )
