"""Sessions whose keys are stored as hashes only, and whose data is encrypted: a stolen database signs nobody in.

A session ends when nobody used it for `SESSION_IDLE_HOURS`, at the latest `SESSION_COOKIE_AGE` after sign-in. Its row
says whose it is, so a person can see and end their sessions.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, models
from django.utils import timezone

from teams import encryption
from teams.models import Session, User

# The column holds 40 characters: 160 bits of SHA-256 cannot be guessed or inverted.
LENGTH = 40
# What a sign-in leaves in the session's data: `at`, `address`, `browser`.
SIGN_IN: Final = "sign_in"
# How exact `seen_at` is: an update per request would cost too much.
SEEN_RESOLUTION: Final = timedelta(minutes=1)


def hash_of(session_key: str | None) -> str:
    return hashlib.sha256((session_key or "").encode()).hexdigest()[:LENGTH]


def ends_at(started: datetime, now: datetime) -> datetime:
    """When a session that is in use `now` ends."""
    idle = now + timedelta(hours=settings.SESSION_IDLE_HOURS)
    return min(idle, started + timedelta(seconds=settings.SESSION_COOKIE_AGE))


class SessionStore(db.SessionStore):
    """For `SESSION_ENGINE`. The browser's cookie has the key."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self._row: Session | None = None

    @classmethod
    def get_model_class(cls) -> Any:
        return Session

    def _get_session_from_db(self) -> Any:
        known = Session.objects.filter(session_key=hash_of(self.session_key), expire_date__gt=timezone.now())
        self._row = known.first()
        if self._row is None:
            self._session_key = None
        return self._row

    def encode(self, session_dict: dict[str, Any]) -> str:
        """Encrypted: it holds what is not finished, such as the seed of a second factor or an invitation."""
        return encryption.encrypt(super().encode(session_dict))

    def decode(self, session_data: bytes | str) -> dict[str, Any]:
        """Empty if the key is no longer known: that browser signs in again."""
        try:
            plain = encryption.decrypt(str(session_data))
        except ImproperlyConfigured:
            return {}
        decoded: dict[str, Any] = super().decode(plain)
        return decoded

    def exists(self, session_key: str) -> bool:
        return bool(self.model.objects.filter(session_key=hash_of(session_key)).exists())

    def create_model_instance(self, data: Any) -> Any:
        session: Any = super().create_model_instance(data)
        session.session_key = hash_of(session.session_key)
        now, sign_in = timezone.now(), data.get(SIGN_IN, {})
        session.user_id = data.get(SESSION_KEY)
        session.address, session.browser = sign_in.get("address"), sign_in.get("browser", "")
        session.started_at = datetime.fromisoformat(sign_in["at"]) if sign_in else now
        session.seen_at, session.expire_date = now, ends_at(session.started_at, now)
        return session

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key:
            self.model.objects.filter(session_key=hash_of(key)).delete()

    def note_use(self, now: datetime) -> None:
        """Keep a session that was read from ending. At most once a minute, and never at the cost of a request."""
        row = self._row
        if row is None or row.seen_at > now - SEEN_RESOLUTION:
            return
        with suppress(OperationalError):
            Session.objects.filter(pk=row.pk).update(seen_at=now, expire_date=ends_at(row.started_at, now))


def of_person(user: User, now: datetime) -> models.QuerySet[Session]:
    """Where a person is signed in, last used first."""
    return Session.objects.filter(user=user, expire_date__gt=now).order_by("-seen_at")


def end(user: User, row: str) -> bool:
    """End one session of a person. Whether there was one. Other texts than hashes may not even suit the database."""
    return row.isalnum() and bool(Session.objects.filter(user=user, pk=row).delete()[0])


def end_others(user: User, current_key: str | None) -> int:
    """End all sessions of a person but the one with this key. Returns how many."""
    return Session.objects.filter(user=user).exclude(pk=hash_of(current_key)).delete()[0]
