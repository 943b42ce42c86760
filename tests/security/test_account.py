"""A stolen session does not become the account."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from allauth.mfa import signals
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP
from django.conf import settings
from django.contrib.auth.hashers import MD5PasswordHasher
from django.test import Client
from django.utils import timezone

from teams import sign_in_links
from teams.errors import ApiError
from teams.models import AuditEntry, Team, User

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
NEW = "staple battery horse 42"
CHANGES: list[tuple[str, dict[str, str]]] = [
    ("/accounts/password/change/", {"oldpassword": "guessed", "password1": NEW, "password2": NEW}),
    ("/accounts/email/", {"action_add": "", "email": "thief@example.com"}),
    ("/accounts/2fa/totp/activate/", {"code": "123456"}),
    ("/accounts/2fa/totp/deactivate/", {}),
    ("/accounts/2fa/recovery-codes/generate/", {}),
    ("/accounts/2fa/webauthn/add/", {}),
]


@pytest.mark.parametrize(("path", "data"), CHANGES, ids=[path for path, _ in CHANGES])
def test_changes_ask_for_the_password_again(
    path: str, data: dict[str, str], owner: User, team: Team, client_of: Any
) -> None:
    TOTP.activate(owner, "ABCDEFGHIJKLMNOP")
    stolen: Client = client_of(owner)
    answer = stolen.post(path, data)
    asked = "reauthenticate" in answer.headers.get("Location", "")
    # The form of the password has a field for the old one; a second TOTP cannot be added at all.
    assert asked or path in ("/accounts/password/change/", "/accounts/2fa/totp/activate/")
    owner.refresh_from_db()
    assert owner.check_password(PASSWORD)
    assert [row.type for row in Authenticator.objects.all()] == ["totp"]
    assert not owner.emailaddress_set.filter(email="thief@example.com").exists()


def signed_in(owner: User) -> Client:
    browser = Client()
    browser.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
    return browser


def test_new_password_is_told_and_logged(owner: User, team: Team, mailoutbox: list[Any]) -> None:
    data = {"oldpassword": PASSWORD, "password1": NEW, "password2": NEW}
    assert signed_in(owner).post("/accounts/password/change/", data).status_code == 302
    owner.refresh_from_db()
    assert owner.check_password(NEW)
    assert [mail.to for mail in mailoutbox] == [[owner.email]]
    assert "password" in mailoutbox[0].body
    entry = AuditEntry.objects.get(action="account.password_changed")
    assert (entry.team, entry.actor, entry.target) == (team, owner.email, owner.email)


@pytest.mark.parametrize("what", ["added", "removed", "reset"])
def test_second_factor_is_logged(what: str, owner: User, team: Team) -> None:
    factor = TOTP.activate(owner, "ABCDEFGHIJKLMNOP").instance
    signal = getattr(signals, f"authenticator_{what}")
    signal.send(sender=Authenticator, request=None, user=owner, authenticator=factor)
    entry = AuditEntry.objects.get(action=f"account.second_factor_{what}")
    assert (entry.team, entry.actor, entry.data) == (team, owner.email, {"kind": factor.get_type_display()})


def test_links_live_an_hour(owner: User) -> None:
    assert timedelta(hours=1) == sign_in_links.LIFETIME
    assert settings.PASSWORD_RESET_TIMEOUT == 3600
    token = sign_in_links.sign_in_url(owner).rstrip("/").rpartition("/")[2]
    assert sign_in_links.find_person(token) == owner
    with time_machine.travel(timezone.now() + timedelta(minutes=61)), pytest.raises(ApiError):
        sign_in_links.find_person(token)


def email_action(browser: Client, action: str, address: str) -> None:
    assert browser.post("/accounts/email/", {f"action_{action}": "", "email": address}).status_code == 302


def test_new_address_is_told_to_the_old_one(owner: User, team: Team, mailoutbox: list[Any]) -> None:
    old, new = owner.email, "new@example.com"
    browser = signed_in(owner)
    assert browser.post("/accounts/reauthenticate/", {"password": PASSWORD}).status_code == 302
    email_action(browser, "add", new)
    (code,) = re.findall(r"^\s*([A-Z0-9]{3,4}-?[A-Z0-9]{3,4})\s*$", mailoutbox[-1].body, re.MULTILINE)
    mailoutbox.clear()
    assert browser.post("/accounts/confirm-email/", {"code": code}).status_code == 302
    assert [mail.to for mail in mailoutbox] == [[old]]
    assert new in mailoutbox[0].body
    mailoutbox.clear()
    email_action(browser, "primary", new)
    assert [mail.to for mail in mailoutbox] == [[old]]
    assert new in mailoutbox[0].body
    mailoutbox.clear()
    email_action(browser, "remove", old)
    assert sorted(mail.to[0] for mail in mailoutbox) == sorted([old, new])
    actions = AuditEntry.objects.filter(team=team, action__startswith="account.email").values_list("action", flat=True)
    assert set(actions) >= {"account.email_added", "account.email_changed", "account.email_removed"}


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/accounts/signup/", {"email": "{}", "password1": NEW}),
        ("/accounts/login/", {"login": "{}", "password": NEW}),
        ("/accounts/password/reset/", {"email": "{}"}),
    ],
)
def test_time_does_not_tell_who_has_an_account(
    path: str, data: dict[str, str], owner: User, monkeypatch: pytest.MonkeyPatch, mailoutbox: list[Any]
) -> None:
    """Hashing a password and sending a mail take long; each is done as often for a stranger as for a member."""
    hashed: list[str] = []
    plain = MD5PasswordHasher.encode

    def counted(hasher: MD5PasswordHasher, password: str, salt: str) -> str:
        hashed.append(salt)
        return plain(hasher, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)
    costs = []
    for address in (owner.email, "nobody@example.com"):
        hashed.clear()
        mailoutbox.clear()
        answer = Client().post(path, {name: text.format(address) for name, text in data.items()})
        costs.append((answer.status_code, answer.headers.get("Location"), len(hashed), len(mailoutbox)))
    assert costs[0] == costs[1]
