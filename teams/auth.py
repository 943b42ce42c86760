"""Who calls the API: a key, what it may do, and for which project.

Authenticating is on every heartbeat's way, so an answer, good or bad, is kept per process for a second. That is
also how long another process may still accept a key that was just revoked.
"""

import hmac
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from django.db import OperationalError
from django.db.models import Q
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from teams import keys, prices
from teams.errors import ApiError
from teams.models import ApiKey, Scope
from teams.prices import Override

if TYPE_CHECKING:  # the module itself imports this one, through DRF's settings
    from rest_framework.views import APIView

KEPT_SECONDS: Final = 1.0
KEPT_ANSWERS: Final = 10_000
USE_NOTED_EVERY: Final = timedelta(minutes=1)
_clock = time.monotonic


@dataclass(frozen=True, slots=True)
class Caller:
    """What one key means."""

    key_id: int
    prefix: str
    scope: str
    project_id: int
    team_id: int
    time_zone: str
    strict: bool
    default_grace: int | None
    # Prices that the project set itself; no part of who calls.
    prices: tuple[Override, ...] = field(default=(), compare=False)
    # Whether its project has a monthly budget.
    monthly: bool = field(default=False, compare=False)

    @property
    def actor(self) -> str:
        """As the audit log names it."""
        return f"key:{self.prefix}"


# Hash of the key -> until when the answer holds, and the answer.
_kept: dict[str, tuple[float, Caller | ApiError]] = {}


def authenticate_key(raw: str | None) -> Caller:
    """What the key means. Raises 401 with what to do when it is missing, unknown, revoked or expired."""
    if not raw:
        raise ApiError(401, "missing_key", "Send your project's API key in the X-API-Key header.")
    if not keys.looks_like_key(raw):
        raise ApiError(401, "invalid_key", "This is not an API key: those are cv_ and 40 letters and digits.")
    answer = _answer(raw, keys.hash_of(raw))
    if isinstance(answer, ApiError):
        raise ApiError(answer.http_status, answer.code, answer.message)
    return answer


def _answer(raw: str, digest: str) -> Caller | ApiError:
    moment = _clock()
    kept = _kept.get(digest)
    if kept is not None and moment < kept[0]:
        return kept[1]
    answer = _look_up(raw, digest, timezone.now())
    if len(_kept) >= KEPT_ANSWERS:
        _kept.clear()
    _kept[digest] = (moment + KEPT_SECONDS, answer)
    return answer


def forget(key: ApiKey) -> None:
    """Look the key up afresh at its next use in this process."""
    _kept.pop(key.hash, None)


def _look_up(raw: str, digest: str, now: datetime) -> Caller | ApiError:
    # Without an order: asking for one costs as much again as all the rest of this.
    found = next(iter(ApiKey.objects.filter(hash=digest).order_by().select_related("project")), None)
    if found is None or not hmac.compare_digest(found.hash, digest):
        return ApiError(401, "invalid_key", "Unknown API key. Copy it again, or make a new one on the Keys page.")
    if found.revoked_at:
        return ApiError(401, "revoked_key", "This API key was revoked. Make a new one on the Keys page.")
    if found.expires_at and found.expires_at <= now:
        return ApiError(401, "expired_key", "This API key was rotated and has expired. Use its successor.")
    _note_use(found, now)
    return _caller(found)


def _caller(key: ApiKey) -> Caller:
    project = key.project
    return Caller(
        key_id=key.pk,
        prefix=key.prefix,
        scope=key.scope,
        project_id=project.pk,
        team_id=project.team_id,
        time_zone=project.time_zone,
        strict=project.strict,
        default_grace=project.default_grace,
        prices=prices.overrides(project.prices),
        monthly=project.monthly_budget_usd is not None,
    )


def _note_use(key: ApiKey, now: datetime) -> None:
    """Once a minute at most; a database too busy for that must not cost anyone a heartbeat."""
    before = now - USE_NOTED_EVERY
    if key.last_used_at and key.last_used_at > before:
        return
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=before)
    with suppress(OperationalError):
        ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)


def key_in(headers: Mapping[str, str]) -> str | None:
    """The key in a request's headers: `X-API-Key`, else `Authorization: Bearer`."""
    key = headers.get("X-API-Key")
    if key:
        return key.strip()
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


class ApiKeyAuthentication(BaseAuthentication):
    """`request.auth` is the Caller."""

    def authenticate(self, request: Request) -> tuple[None, Caller]:
        return None, authenticate_key(key_in(request.headers))

    def authenticate_header(self, request: Request) -> str:
        return "ApiKey"


class HasScope(BasePermission):
    """A view names the scopes it needs: `scope_for = {"POST": "agent"}`. Other methods need `read` (GET) or `full`."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        named: Mapping[str, str] = getattr(view, "scope_for", {})
        method = str(request.method)
        needed = named.get(method, Scope.READ if method in SAFE_METHODS else Scope.FULL)
        caller = request.auth
        scope = caller.scope if isinstance(caller, Caller) else ""
        if scope_allows(scope, needed, reading=method in SAFE_METHODS):
            return True
        message = f"This key's scope is {scope}, this call needs {needed}. Make another key on the Keys page."
        raise ApiError(403, "scope", message)


def scope_allows(scope: str, needed: str, *, reading: bool) -> bool:
    """`full` may do everything, `read` every GET, `agent` what names itself so."""
    return scope in (Scope.FULL, needed) or (scope == Scope.READ and reading)
