"""Pages of a sign-in through a provider: where to begin, and where the provider sends people back to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from typing import Any, Final

import requests
from allauth.account.adapter import get_adapter as account_adapter
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.helpers import complete_social_login
from allauth.socialaccount.internal import statekit
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.base.constants import AuthProcess
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from allauth.socialaccount.sessions import LoginSession
from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from teams.access import allowed
from teams.errors import ApiError
from teams.roles import Action
from teams.sso import enforcement, saml
from teams.sso.adapter import EXPIRED, refusal_page
from teams.sso.models import Protocol, SingleSignOn
from teams.sso.policy import Identity, domain_of
from teams.sso.provider import OpenIdAdapter

View = Callable[..., HttpResponse]
RESPONSE_COOKIE: Final = "sign-on-response"


class AddressForm(forms.Form):
    email = forms.EmailField(
        label="Work e-mail", widget=forms.EmailInput(attrs={"autocomplete": "email", "autofocus": True})
    )

    def clean_email(self) -> str:
        address: str = self.cleaned_data["email"]
        self.connection = enforcement.connection_for(address)
        if self.connection is None:
            raise forms.ValidationError(f"No team has set up single sign-on for {domain_of(address)}.")
        return address


def refusals(view: View) -> View:
    """A refusal, also one by the provider, becomes a page with the reason."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except SocialApp.DoesNotExist:
            raise Http404("Not found.") from None
        except ApiError as error:
            return refusal_page(request, error)
        except requests.RequestException as error:
            return refusal_page(request, ApiError(502, "unreachable", f"The identity provider failed: {error}"))

    return wrapped


@never_cache
@require_http_methods(["GET", "POST"])
def find(request: HttpRequest) -> HttpResponse:
    """Which provider an address belongs to. A page with a link, because a form must not lead to another host."""
    form = AddressForm(request.POST or None)
    if form.is_valid():
        return render(request, "sso/continue.html", {"connection": form.connection, "next": request.POST.get("next")})
    return render(request, "sso/find.html", {"form": form, "next": request.GET.get("next", "")})


@never_cache
@require_safe
@refusals
def start(request: HttpRequest, slug: str) -> HttpResponse:
    """Lead the browser to the provider. With `?test`, an owner tests the settings and stays signed in."""
    connection = SingleSignOn.objects.filter(slug=slug, team__ended_at=None).first()
    test = _tester(request, connection)
    if connection is None or not (connection.is_active or test):
        raise Http404("Not found.")
    wanted = request.GET.get("next", "")
    following = wanted if account_adapter(request).is_safe_url(wanted) else None
    provider = get_adapter(request).get_provider(request, provider=slug)
    data = {"test": test} if test else None
    response: HttpResponse = provider.redirect(request, AuthProcess.LOGIN, next_url=following, data=data)
    return response


def _tester(request: HttpRequest, connection: SingleSignOn | None) -> int | None:
    """The owner who tests. Raises 403 for anybody else who asks for a test."""
    if "test" not in request.GET or connection is None:
        return None
    if not allowed(request, Action.OWN, connection.team_id):
        raise ApiError(403, "owners_only", "Only an owner of the team can test single sign-on.")
    request.sign_on_test = connection  # type: ignore[attr-defined]
    return request.user.pk


@never_cache
@require_safe
@refusals
def callback(request: HttpRequest, slug: str) -> HttpResponse:
    """Where an OpenID Connect provider sends people back to."""
    if not SingleSignOn.objects.filter(slug=slug, protocol=Protocol.OIDC, team__ended_at=None).exists():
        raise Http404("Not found.")
    view: View = OAuth2CallbackView.adapter_view(OpenIdAdapter(request, slug))  # type: ignore[no-untyped-call]
    return view(request)


@never_cache
@csrf_exempt
@require_POST
@refusals
def acs(request: HttpRequest, slug: str) -> HttpResponse:
    """Where a SAML provider posts its response to.

    Our session cookie does not come along from another site. So what was verified waits in a session of its own for the
    request to `finish`, which has both.
    """
    identity, request_id = saml.verified_identity(_saml_connection(slug), request.POST.get("SAMLResponse", ""))
    response = redirect("sso:finish", slug)
    waiting = LoginSession(request, "sign_on_response", RESPONSE_COOKIE)
    waiting.store.update({"slug": slug, "identity": asdict(identity), "request": request_id})
    waiting.save(response)
    return response


@never_cache
@require_safe
@refusals
def finish(request: HttpRequest, slug: str) -> HttpResponse:
    """Go on with what `acs` verified, if it answers a request of this browser that was not answered yet."""
    _saml_connection(slug)
    waiting = LoginSession(request, "sign_on_response", RESPONSE_COOKIE)
    found = dict(waiting.store.items()) if waiting.store.session_key else {}
    waiting.delete()
    provider = get_adapter(request).get_provider(request, provider=slug)
    state = None
    if found.get("slug") == slug:
        state = statekit.unstash_state(request, provider_id=slug, state_id=found["request"])
    if state is None:
        raise ApiError(403, "sign_on_failed", EXPIRED)
    identity = Identity(**{**found["identity"], "values": tuple(found["identity"]["values"])})
    login = provider.sociallogin_from_response(request, identity)
    login.state = state
    response: HttpResponse = complete_social_login(request, login)
    return response


@require_safe
@refusals
def metadata(request: HttpRequest, slug: str) -> HttpResponse:
    """Our SAML metadata, for the provider."""
    return HttpResponse(saml.metadata(_saml_connection(slug)), content_type="application/samlmetadata+xml")


def _saml_connection(slug: str) -> SingleSignOn:
    return get_object_or_404(SingleSignOn, slug=slug, protocol=Protocol.SAML, team__ended_at=None)
