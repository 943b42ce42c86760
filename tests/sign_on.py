"""Fixtures of single sign-on: a provider, a team that uses it, and a browser that goes through it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from teams.models import Team, User
from teams.sso import services
from teams.sso.models import SingleSignOn
from tests.identity_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider

ACME = "acme.example"


@pytest.fixture
def provider(settings: Any) -> Iterator[OidcProvider]:
    """It listens on a private address, as many providers of companies do."""
    settings.ALLOW_PRIVATE_TARGETS = True
    with OidcProvider() as running:
        running.person = claims_of("ada@acme.example")
        yield running


@pytest.fixture
def connection(provider: OidcProvider, team: Team, owner: User, operator: User) -> SingleSignOn:
    """Single sign-on of `team` with acme.example verified: `engineering` are admins, everybody else views."""
    values = {
        "name": "Acme", "issuer": provider.issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET,
        "role_claim": "groups", "roles": [["engineering", "admin"], ["board", "owner"]],
    }  # fmt: skip
    now = timezone.now()
    made = services.create(team=team, values=values, by=owner, now=now)
    row = services.add_domain(connection=made, domain=ACME, by=owner, now=now)
    services.approve_domain(row=row, by=operator, now=now)
    return made


@pytest.fixture
def enforced(connection: SingleSignOn, owner: User) -> SingleSignOn:
    SingleSignOn.objects.filter(pk=connection.pk).update(tested_at=timezone.now())
    return services.change(connection=connection, values={"enforced": True}, by=owner, current=None)


def claims_of(email: str, **more: Any) -> dict[str, Any]:
    return {"sub": f"id of {email}", "email": email, "email_verified": True, "name": "Ada", **more}


def begin(browser: Client, connection: SingleSignOn, query: str = "") -> str:
    """The provider's address that a sign-in leads to."""
    answer = browser.get(f"/accounts/sso/{connection.slug}/start/{query}")
    assert answer.status_code == 302, answer.content.decode()
    return answer.headers["Location"]


def go_back(browser: Client, url: str) -> HttpResponse:
    """Follow the provider's redirect to us."""
    parts = urlsplit(url)
    return browser.get(f"{parts.path}?{parts.query}")  # type: ignore[return-value]


def sign_in(browser: Client, connection: SingleSignOn, provider: OidcProvider, query: str = "") -> HttpResponse:
    return go_back(browser, provider.authorize(begin(browser, connection, query)))


def signed_in_as(browser: Client) -> str:
    pk = browser.session.get("_auth_user_id")
    return User.objects.get(pk=pk).email if pk else ""


def recently(browser: Client, person: User) -> Client:
    """The browser, as if the person had just given their password in it."""
    session = browser.session
    session["account_authentication_methods"] = [{"method": "password", "at": time.time(), "reauthenticated": True}]
    session["account_authentication_methods_user"] = str(person.pk)
    session.save()
    return browser
