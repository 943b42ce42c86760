"""Sessions whose keys are stored as hashes only: a stolen copy of the database signs nobody in."""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib.sessions.backends import db
from django.utils import timezone

# The column holds 40 characters: 160 bits of SHA-256 cannot be guessed or inverted.
LENGTH = 40


def hash_of(session_key: str | None) -> str:
    return hashlib.sha256((session_key or "").encode()).hexdigest()[:LENGTH]


class SessionStore(db.SessionStore):
    """For `SESSION_ENGINE`. The browser's cookie has the key."""

    @classmethod
    def get_model_class(cls) -> Any:
        return db.SessionStore.get_model_class()

    def _get_session_from_db(self) -> Any:
        known = self.model.objects.filter(session_key=hash_of(self.session_key), expire_date__gt=timezone.now())
        session = known.first()
        if session is None:
            self._session_key = None
        return session

    def exists(self, session_key: str) -> bool:
        return bool(self.model.objects.filter(session_key=hash_of(session_key)).exists())

    def create_model_instance(self, data: Any) -> Any:
        session = super().create_model_instance(data)
        session.session_key = hash_of(session.session_key)
        return session

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key:
            self.model.objects.filter(session_key=hash_of(key)).delete()
