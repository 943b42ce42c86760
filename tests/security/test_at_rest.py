"""A stolen copy of the database reveals no secret: not a channel's, not a second factor's, not a session's."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from cryptography.fernet import Fernet
from django.core.exceptions import FieldError, ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from alerts.models import Channel
from teams import encryption, mail
from teams.models import Project, User
from teams.sessions import SessionStore
from teams.tasks import protect_secrets

pytestmark = pytest.mark.django_db
SECRET = "whsec_KJ2kabcdefgh"
OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))
CONFIG = {"url": "https://example.com/hooks/tok_4711xyz", "secret": SECRET, "list": [1, None, "ü"]}


@pytest.fixture(autouse=True)
def keys(settings: Any) -> None:
    settings.ENCRYPTION_KEYS = [OLD]


def dump() -> str:
    """Everything that is stored, as a thief would read it."""
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        texts = []
        for table in tables:
            cursor.execute(f'SELECT * FROM "{table}"')
            texts += [str(row) for row in cursor.fetchall()]
    return "\n".join(texts)


def channel(project: Project) -> Channel:
    return Channel.objects.create(project=project, kind="webhook", name="pager", config=CONFIG)


def test_channel_settings_are_encrypted(project: Project) -> None:
    pk = channel(project).pk
    stored = dump()
    assert "pager" in stored
    assert not [secret for secret in (SECRET, "tok_4711xyz", "example.com/hooks") if secret in stored]
    assert Channel.objects.get(pk=pk).config == CONFIG
    Channel.objects.filter(pk=pk).update(config={"url": "https://b.example"})
    assert Channel.objects.get(pk=pk).config == {"url": "https://b.example"}


@pytest.mark.parametrize("lookup", ["config", "config__contains", "config__secret", "config__secret__regex"])
def test_encrypted_columns_cannot_be_searched(lookup: str) -> None:
    with pytest.raises(FieldError):
        Channel.objects.filter(**{lookup: "x"})


def test_second_factor_seeds_are_encrypted(owner: User) -> None:
    secret = generate_totp_secret()
    TOTP.activate(owner, secret)
    RecoveryCodes.activate(owner)
    assert secret not in dump()
    assert all(
        encryption.is_current(row.data[name])
        for row in Authenticator.objects.all()
        for name in ("secret", "seed")
        if name in row.data
    )
    assert len(RecoveryCodes(Authenticator.objects.get(type="recovery_codes")).get_unused_codes()) == 10


def test_session_keys_are_stored_as_hashes(owner: User, client_of: Any) -> None:
    browser: Client = client_of(owner)
    key = browser.cookies["sessionid"].value
    assert key not in dump()
    assert browser.get("/accounts/profile/").status_code == 200
    thief = Client()
    for row in SessionStore.get_model_class().objects.all():
        thief.cookies["sessionid"] = row.session_key
        assert thief.get("/accounts/profile/").status_code == 302


def test_sessions_work_as_before() -> None:
    store = SessionStore()
    store["a"] = 1
    store.save()
    assert store.exists(store.session_key or "")
    again = SessionStore(store.session_key)
    assert again["a"] == 1
    again.cycle_key()
    assert not store.exists(store.session_key or "")
    assert SessionStore(again.session_key)["a"] == 1
    again.delete()
    assert SessionStore(again.session_key).load() == {}
    assert SessionStore("x" * 32).load() == {}


def test_keys_are_replaced_without_a_gap(project: Project, owner: User, settings: Any) -> None:
    pk = channel(project).pk
    TOTP.activate(owner, "ABCDEFGH")
    settings.ENCRYPTION_KEYS = [NEW, OLD]
    assert Channel.objects.get(pk=pk).config == CONFIG
    assert encryption.count_outdated() == 2
    protect_secrets()
    assert encryption.count_outdated() == 0
    settings.ENCRYPTION_KEYS = [NEW]
    assert Channel.objects.get(pk=pk).config == CONFIG
    assert encryption.decrypt(Authenticator.objects.get().data["secret"]) == "ABCDEFGH"


def test_what_was_stored_before_is_read_then_encrypted(project: Project, owner: User) -> None:
    pk = channel(project).pk
    with connection.cursor() as cursor:
        cursor.execute("UPDATE alerts_channel SET config = %s", [json.dumps(CONFIG)])
    Authenticator.objects.create(user=owner, type="totp", data={"secret": "ABCDEFGH"})
    assert Channel.objects.get(pk=pk).config == CONFIG
    assert encryption.encrypt_again() == 2
    assert SECRET not in dump()
    assert "ABCDEFGH" not in dump()
    assert Channel.objects.get(pk=pk).config == CONFIG
    assert encryption.encrypt_again() == 0


def rotate(*options: str) -> str:
    written = io.StringIO()
    call_command("rotate_encryption_key", *options, stdout=written)
    return written.getvalue()


@pytest.fixture
def stored(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the keys of an embedded installation."""
    monkeypatch.delenv("ENCRYPTION_KEYS", raising=False)
    settings.EMBEDDED, settings.DATA_DIR = True, tmp_path
    file = tmp_path / "encryption_key"
    file.write_text(OLD)
    return file


def test_command_replaces_the_key(project: Project, settings: Any, stored: Path) -> None:
    pk = channel(project).pk
    assert "Restart the server" in rotate()
    new, old = stored.read_text().split()
    assert (old, stored.stat().st_mode & 0o777) == (OLD, 0o600)
    settings.ENCRYPTION_KEYS = [new, old]  # as after a restart
    with pytest.raises(CommandError, match="1 secrets still need an older key"):
        rotate("--forget-old")
    assert "Encrypted with the first key: 1. Still with another: 0." in rotate("--encrypt")
    rotate("--forget-old")
    assert stored.read_text().split() == [new]
    settings.ENCRYPTION_KEYS = [new]
    assert Channel.objects.get(pk=pk).config == CONFIG


def test_command_says_what_to_set_elsewhere(settings: Any, stored: Path) -> None:
    settings.EMBEDDED = settings.ENCRYPTION_KEYS_CONFIGURED = False
    said = rotate().splitlines()
    assert encryption.parse_keys([said[1]])
    assert said[3] == OLD
    assert stored.read_text() == OLD


def test_missing_key_says_what_to_do(project: Project, settings: Any) -> None:
    channel(project)
    settings.ENCRYPTION_KEYS = [OTHER]
    with pytest.raises(ImproperlyConfigured, match="Add the key that was used before"):
        Channel.objects.get()


@pytest.mark.parametrize("text", ["", "short", "k" * 60, "ü" * 32, "ab" * 8])
def test_wrong_keys_are_refused(text: str) -> None:
    assert encryption.parse_keys([OLD, OLD.rstrip("="), OLD.replace("-", "+")])
    with pytest.raises(ValueError, match="32 random bytes"):
        encryption.parse_keys([text])


def test_old_mails_in_files_are_deleted(settings: Any, tmp_path: Path) -> None:
    settings.EMAIL_FILE_PATH, settings.EMAIL_CONFIGURED = str(tmp_path), False
    for name, days in (("old.log", 8), ("new.log", 6)):
        (tmp_path / name).write_text("sign in: …")
        at = time.time() - days * 86_400
        os.utime(tmp_path / name, (at, at))
    mail.purge_files()
    assert [file.name for file in tmp_path.iterdir()] == ["new.log"]


@pytest.mark.parametrize("path", ["/hooks/tok_4711xyz", "/services/T0/B1/secret?token=abc", "/qz7tk"])
@pytest.mark.parametrize("role", ["viewer", "member"])
def test_webhook_tokens_are_hidden(path: str, role: str, request: Any, client_of: Any, project: Project) -> None:
    config = {"url": f"https://user:pw@example.com{path}", "secret": SECRET}
    row = Channel.objects.create(project=project, kind="webhook", name="pager", config=config)
    browser = client_of(request.getfixturevalue(role))
    for url in ("/admin/alerts/channel/", f"/admin/alerts/channel/{row.pk}/change/"):
        page = browser.get(url, follow=True).text
        assert "pager" in page
        assert not [secret for secret in (path.strip("/"), "pw@", SECRET, "B1/secret") if secret in page]
