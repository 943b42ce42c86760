"""Changes of a person's account, in the audit log of each of their teams: a takeover leaves a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from allauth.account import signals as account
from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from allauth.mfa import signals as second_factor
from django.http import HttpRequest

from teams.models import Team, User
from teams.services import audit


def connect() -> None:
    """Called once, when the app is ready."""
    account.password_changed.connect(_log("account.password_changed"), weak=False)
    account.password_set.connect(_log("account.password_changed"), weak=False)
    account.password_reset.connect(_log("account.password_reset"), weak=False)
    account.email_changed.connect(_email_changed)
    account.email_added.connect(_email_added)
    account.email_removed.connect(_email_removed)
    second_factor.authenticator_added.connect(_log("account.second_factor_added"), weak=False)
    second_factor.authenticator_removed.connect(_log("account.second_factor_removed"), weak=False)
    second_factor.authenticator_reset.connect(_log("account.second_factor_reset"), weak=False)


def _log(action: str) -> Any:
    def receive(*, user: User, **facts: Any) -> None:
        authenticator = facts.get("authenticator")
        record(user, action, {"kind": authenticator.get_type_display()} if authenticator else {})

    return receive


def _email_changed(*, user: User, from_email_address: Any, to_email_address: Any, **facts: Any) -> None:
    before = from_email_address.email if from_email_address else ""
    record(user, "account.email_changed", {"from": before, "to": to_email_address.email})


def _email_added(*, request: HttpRequest, user: User, email_address: EmailAddress, **facts: Any) -> None:
    """An added address can become the one to reset the password with, so the old one hears of it first."""
    record(user, "account.email_added", {"address": email_address.email})
    context = {"added_email": email_address.email}
    get_adapter(request).send_notification_mail("account/email/email_added", user, context)


def _email_removed(*, request: HttpRequest, user: User, email_address: EmailAddress, **facts: Any) -> None:
    """allauth tells the primary address; the removed one is told, too."""
    record(user, "account.email_removed", {"address": email_address.email})
    if email_address.verified:
        context = {"deleted_email": email_address.email}
        get_adapter(request).send_notification_mail(
            "account/email/email_deleted", user, context, email=email_address.email
        )


def record(user: User, action: str, data: dict[str, Any], *, actor: str = "") -> None:
    """Write into the audit log of each of the person's teams. `actor`: who did it, if not the person."""
    for team in Team.objects.active().filter(memberships__user=user):
        audit(team=team, actor=actor or user.email, action=action, target=user.email, of=user, data=data)


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Of each value that differs, what it was and is."""
    return {name: {"from": before[name], "to": after[name]} for name in before if before[name] != after[name]}
