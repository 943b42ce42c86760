"""Where single sign-on is required: the one gate that every sign-in passes, whatever its method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from allauth.account.models import EmailAddress
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from teams.models import User
from teams.sso.models import SingleSignOn
from teams.sso.policy import domain_of

# In the session: who signed in through a provider, of which team, and whether with a second factor there.
SESSION_KEY: Final = "sign_on"


@dataclass(frozen=True, slots=True)
class Passed:
    """Set on a request as `sign_on` before its sign-in: `team` vouches, or (None) it is break-glass."""

    team: int | None
    strong: bool = False


def connection_for(address: str) -> SingleSignOn | None:
    """The active connection that speaks for an address."""
    return _active(domain_of(address)).first()


def required_for(address: str) -> SingleSignOn | None:
    """The connection that an address must sign in through. None for operators, who always keep their own way in."""
    connection = _active(domain_of(address)).filter(enforced=True).first()
    if connection is None or User.objects.filter(email__iexact=address.strip(), is_superuser=True).exists():
        return None
    return connection


def required_for_person(user: User) -> SingleSignOn | None:
    """As `required_for`, for any address of an account that could sign in."""
    if user.is_superuser:
        return None
    verified = EmailAddress.objects.filter(user=user, verified=True).values_list("email", flat=True)
    addresses = [user.email, *verified]
    return _active(*map(domain_of, addresses)).filter(enforced=True).first()


def _active(*domains: str) -> models.QuerySet[SingleSignOn]:
    rows = SingleSignOn.objects.filter(is_active=True, team__ended_at=None)
    return rows.filter(domains__domain__in=domains, domains__verified_at__isnull=False).select_related("team")


def reason(connection: SingleSignOn, address: str) -> str:
    """Why a password, a link or a reset is refused."""
    return f"{domain_of(address)} signs in with {connection.name}, not with a password."


def open_session(request: HttpRequest, user: User) -> HttpResponse | None:
    """At the start of a sign-in: note in the session how it passed the gate, else the page that refuses it."""
    request.session.pop(SESSION_KEY, None)
    passed: Passed | None = getattr(request, "sign_on", None)
    if passed is None:
        return gate(request, user)
    request.session[SESSION_KEY] = {"user": user.pk, "team": passed.team, "strong": passed.strong}
    return None


def gate(request: HttpRequest, user: User) -> HttpResponse | None:
    """At the end of a sign-in: the page that leads to the provider, if it did not come from there."""
    entry = request.session.get(SESSION_KEY) or {}
    connection = None if entry.get("user") == user.pk else required_for_person(user)
    return render(request, "sso/required.html", {"connection": connection}, status=403) if connection else None


def vouched_teams(request: HttpRequest) -> tuple[int, ...]:
    """Teams whose provider asserted a second factor in this session."""
    session = getattr(request, "session", None)
    entry = session.get(SESSION_KEY) if session is not None else None
    if not entry or not entry["strong"] or entry["team"] is None or request.user.pk != entry["user"]:
        return ()
    return (entry["team"],)
