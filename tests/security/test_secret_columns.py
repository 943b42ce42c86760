"""Every column that may hold a secret: how it is protected at rest, and that it does not go out.

A new column with such a name fails until it has its row here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.contrib import admin
from django.db import models
from django.test import Client
from django.utils import timezone

from teams import portability, services
from teams.encryption import EncryptedJSONField
from teams.models import Session, Team, User
from tests.contracts.test_openapi import DOCUMENT
from tests.security.test_at_rest import dump

NAMES = re.compile(
    r"secret|token|key|password|passw|seed|hash|config|credential|private|address|slug|code|cookie|session|ping_id|data$"
)
ENCRYPTED = "encrypted with ENCRYPTION_KEYS"
HASHED = "a hash: what it stands for was random"
EMPTY = "nothing writes it"
LINK = "opens little, must be looked up, and is shown to those who may use it"
FACT = "no secret"
# By the label of the model and the name of the column.
COLUMNS: dict[str, str] = {
    "alerts.channel.config": ENCRYPTED,
    "sso.singlesignon.client_secret": ENCRYPTED,
    "sso.singlesignon.saml_key": ENCRYPTED,
    "mfa.authenticator.data": "its seeds are encrypted by SecondFactorAdapter; passkeys are public keys",
    "teams.user.password": HASHED,
    "teams.apikey.hash": HASHED,
    "teams.invitation.token_hash": HASHED,
    "teams.session.session_key": HASHED,
    "teams.session.session_data": "encrypted by SessionStore",
    "teams.ratecount.key": HASHED,
    "teams.project.ping_key": LINK,
    "teams.project.status_address": LINK,
    "agents.job.ping_id": LINK,
    "agents.incomingwebhook.address": LINK,
    "agents.incomingwebhook.secret": ENCRYPTED,
    "agents.job.slug": FACT,
    # Everybody can read the file that it must stand in.
    "sso.signindomain.token": FACT,
    "sso.singlesignon.slug": FACT,
    "teams.apikey.last_used_address": FACT,
    "teams.session.address": FACT,
    "teams.auditentry.data": "values without secrets; see test_audit_values.py",
    "agents.incidentevent.data": FACT,
    "agents.streamevent.data": FACT,
    "agents.doornote.key": FACT,
    # Django's own and its libraries'.
    "account.emailaddress.id": FACT,
    "account.emailconfirmation.key": EMPTY,
    "sessions.session.session_key": EMPTY,
    "sessions.session.session_data": EMPTY,
    "socialaccount.socialapp.secret": EMPTY,
    "socialaccount.socialapp.key": EMPTY,
    "socialaccount.socialaccount.extra_data": EMPTY,
    "socialaccount.socialtoken.token": EMPTY,
    "socialaccount.socialtoken.token_secret": EMPTY,
    "axes.accessattempt.get_data": "values of AXES_SENSITIVE_PARAMETERS are hidden; no other are sent",
    "axes.accessattempt.post_data": "values of AXES_SENSITIVE_PARAMETERS and passwords are hidden",
    "axes.accesslog.session_hash": EMPTY,
    "auth.permission.codename": FACT,
}
TEXTS = (models.CharField, models.TextField, models.JSONField, models.UUIDField, models.BinaryField)


def columns() -> Iterator[tuple[str, models.Field[Any, Any]]]:
    for model in apps.get_models():
        if not model._meta.proxy:
            yield from ((f"{model._meta.label_lower}.{field.name}", field) for field in model._meta.concrete_fields)


def suspicious() -> dict[str, models.Field[Any, Any]]:
    return {name: field for name, field in columns() if isinstance(field, TEXTS) and NAMES.search(field.name)}


def protected() -> set[str]:
    return {name for name, how in COLUMNS.items() if how in (ENCRYPTED, HASHED)} | {"mfa.authenticator.data"}


def test_every_column_has_a_row() -> None:
    found = suspicious()
    assert len(found) > 20
    assert sorted(set(found) - set(COLUMNS)) == []


def test_encrypted_columns_are_encrypted() -> None:
    encrypted = {name for name, field in columns() if isinstance(field, EncryptedJSONField)}
    assert encrypted == {name for name, how in COLUMNS.items() if how == ENCRYPTED}


def test_export_has_none_of_them() -> None:
    links = {"teams.project.ping_key", "agents.job.ping_id"}
    exported = {
        f"{model._meta.label_lower}.{field.name}"
        for model, _ in portability.tables()
        for field in model._meta.concrete_fields
        if not portability._is_secret(field)
    }
    assert exported
    assert exported & (protected() | links) == set()


def test_pages_offer_none_of_them() -> None:
    """Neither in a form nor in a list; a channel's form has fields of its own."""
    shown = set()
    for model, page in admin.site._registry.items():
        row: Any = page
        names = [*(row.fields or ()), *(row.readonly_fields or ()), *row.list_display, *row.search_fields]
        shown |= {f"{model._meta.label_lower}.{name}" for name in names if isinstance(name, str)}
    assert shown & protected() == set()


def test_api_describes_none_of_them() -> None:
    """`api_key` and `secret` are in the answers that create them, once."""
    text = json.dumps(DOCUMENT["components"]["schemas"])
    hidden = ("hash", "token_hash", "session_key", "client_secret", "saml_key", "ping_key", "ping_id")
    assert [name for name in hidden if f'"{name}":' in text] == []


@pytest.mark.django_db
def test_ways_to_sign_in_leave_no_secret(owner: User, team: Team, settings: Any) -> None:
    """An invitation that is opened, a wrong password, and half a second factor."""
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    _, invitation = services.invite(
        team=team, email="new@example.com", role="viewer", invited_by=owner, now=timezone.now()
    )
    browser, stranger = Client(), Client()
    stranger.get(f"/accounts/invitation/{invitation}/")
    sent = {"login": owner.email, "password": "wr0ng-passw0rd"}
    stranger.post(f"/accounts/login/?next=/accounts/invitation/{invitation}/", sent)
    browser.post("/accounts/login/", {**sent, "password": "correct horse battery"})
    browser.post("/accounts/reauthenticate/", {"password": "correct horse battery"})
    browser.get("/accounts/2fa/totp/activate/")
    seed = browser.session["mfa.totp.secret"]
    assert stranger.session["invitation"] == invitation
    stored = dump()
    assert [secret for secret in (invitation, seed, "wr0ng-passw0rd") if secret in stored] == []
    readable = [Session.objects.get(pk=row).session_data for row in Session.objects.values_list("pk", flat=True)]
    assert all(text.startswith("encrypted:") for text in readable)
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert browser.get("/accounts/profile/").status_code == 302, "another key signs out, and breaks nothing"


@pytest.mark.django_db
@pytest.mark.parametrize("name", sorted(name for name, how in COLUMNS.items() if how == EMPTY))
def test_unused_columns_stay_empty(name: str, owner: User) -> None:
    browser = Client()
    for password in ("wrong", "correct horse battery"):
        browser.post("/accounts/login/", {"login": owner.email, "password": password})
    label, _, column = name.rpartition(".")
    assert [value for value in apps.get_model(label)._default_manager.values_list(column, flat=True) if value] == []
