"""Secrets at rest: encrypted with keys that are not in the database, so a stolen copy of it reveals none.

`ENCRYPTION_KEYS` holds the keys: the first encrypts, all decrypt. `manage.py rotate_encryption_key` replaces one, step
by step. With a new first key, a task encrypts everything with it within ten minutes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models.functions import Cast

PREFIX: Final = "encrypted:"
KEY_BYTES: Final = 32


def parse_keys(texts: Sequence[str]) -> list[bytes]:
    """The keys in the form that Fernet takes. Raises ValueError for a text that is not 32 bytes in base64."""
    keys = []
    for text in texts:
        plain = text.strip().rstrip("=").replace("-", "+").replace("_", "/")
        try:
            key = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise ValueError("Each of ENCRYPTION_KEYS must be 32 random bytes in base64.")
        keys.append(base64.urlsafe_b64encode(key))
    return keys


@lru_cache(maxsize=8)
def _ciphers(texts: tuple[str, ...]) -> tuple[Fernet, ...]:
    return tuple(Fernet(key) for key in parse_keys(texts))


def _all() -> tuple[Fernet, ...]:
    return _ciphers(tuple(settings.ENCRYPTION_KEYS))


def encrypt(text: str) -> str:
    return PREFIX + _all()[0].encrypt(text.encode()).decode()


def decrypt(text: str) -> str:
    """The plain text; what was stored before there was encryption is returned as it is.

    Raises ImproperlyConfigured if none of the keys fits.
    """
    if not text.startswith(PREFIX):
        return text
    try:
        return MultiFernet(_all()).decrypt(text.removeprefix(PREFIX).encode()).decode()
    except InvalidToken:
        message = "No key in ENCRYPTION_KEYS decrypts a stored secret. Add the key that was used before."
        raise ImproperlyConfigured(message) from None


def is_current(text: str) -> bool:
    """Whether the first key encrypted it."""
    if not text.startswith(PREFIX):
        return False
    try:
        _all()[0].decrypt(text.removeprefix(PREFIX).encode())
    except InvalidToken:
        return False
    return True


class EncryptedJSONField(models.JSONField[Any, Any]):
    """JSON that is encrypted in the database, so it can be neither searched nor filtered."""

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if value is None or hasattr(value, "resolve_expression"):
            return super().get_db_prep_value(value, connection, prepared)
        return super().get_db_prep_value(encrypt(json.dumps(value)), connection, prepared)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        stored = super().from_db_value(value, expression, connection)
        return json.loads(decrypt(stored)) if isinstance(stored, str) and stored.startswith(PREFIX) else stored

    def get_lookup(self, lookup_name: str) -> Any:
        """Only `isnull` works on it."""
        return super().get_lookup(lookup_name) if lookup_name == "isnull" else None

    def get_transform(self, lookup_name: str) -> Any:
        return None


# After a change of keys, and for what was stored before there was encryption


def encrypt_again() -> int:
    """Encrypt with the first key what it did not encrypt. Returns how many rows changed."""
    changed = sum(_fields_again(model, field.name) for model, field in _encrypted_fields())
    return changed + sum(_second_factor_again(row) for row in Authenticator.objects.iterator())


def count_outdated() -> int:
    """Rows that need another key than the first, or none."""
    outdated = sum(len(_outdated(model, field.name)) for model, field in _encrypted_fields())
    return outdated + sum(any(_outdated_secrets(row)) for row in Authenticator.objects.iterator())


def _encrypted_fields() -> Iterator[tuple[type[models.Model], models.Field[Any, Any]]]:
    for model in apps.get_models():
        yield from ((model, field) for field in model._meta.concrete_fields if isinstance(field, EncryptedJSONField))


def _outdated(model: type[models.Model], name: str) -> list[tuple[Any, str]]:
    """Key and stored text of each row to encrypt again."""
    rows = model._default_manager.order_by("pk").annotate(stored=Cast(name, models.TextField()))
    pairs = rows.exclude(**{f"{name}__isnull": True}).values_list("pk", "stored")
    return [(pk, stored) for pk, stored in pairs if not is_current(stored.strip('"'))]


def _fields_again(model: type[models.Model], name: str) -> int:
    changed = 0
    for pk, stored in _outdated(model, name):
        value = json.loads(stored)
        plain = json.loads(decrypt(value)) if isinstance(value, str) else value
        # Only as it was read: a person may have changed it since.
        same = model._default_manager.annotate(stored=Cast(name, models.TextField())).filter(pk=pk, stored=stored)
        changed += same.update(**{name: plain})
    return changed


def _outdated_secrets(row: Authenticator) -> Iterator[str]:
    """Names of the texts that allauth encrypts through our adapter."""
    return (name for name in ("secret", "seed") if name in row.data and not is_current(row.data[name]))


def _second_factor_again(row: Authenticator) -> bool:
    fresh = {name: encrypt(decrypt(row.data[name])) for name in _outdated_secrets(row)}
    same = Authenticator.objects.filter(pk=row.pk, data=row.data)
    return bool(fresh and same.update(data={**row.data, **fresh}))
