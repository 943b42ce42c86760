"""Authentication and permissions of the API: which key, which project, which scope.

Every heartbeat authenticates, so the result, good or bad, is cached per process for a second. Another process may
accept a revoked key for that long.
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

if TYPE_CHECKING:  # that module imports this one, through DRF's settings
    from rest_framework.views import APIView

CACHE_SECONDS: Final = 1.0
MAX_CACHED: Final = 10_000
# How exact `last_used_at` is: an update per heartbeat would cost too much.
LAST_USED_RESOLUTION: Final = timedelta(minutes=1)
_clock = time.monotonic


@dataclass(frozen=True, slots=True)
class Caller:
    """What a key stands for."""

    key_id: int
    prefix: str
    scope: str
    project_id: int
    team_id: int
    time_zone: str
    strict: bool
    default_grace: int | None
    # The project's custom prices; not part of the caller's identity.
    prices: tuple[Override, ...] = field(default=(), compare=False)
    # Whether the project has a monthly budget.
    monthly: bool = field(default=False, compare=False)

    @property
    def actor(self) -> str:
        """Its name in the audit log."""
        return f"key:{self.prefix}"


# Hash of the key -> when the cached result expires (monotonic), and the result.
_cache: dict[str, tuple[float, Caller | ApiError]] = {}


def authenticate_key(raw: str | None) -> Caller:
    """The caller behind a key. Raises 401, saying what to do, if it is missing, unknown, revoked or expired."""
    if not raw:
        raise ApiError(401, "missing_key", "Send your project's API key in the X-API-Key header.")
    if not keys.looks_like_key(raw):
        raise ApiError(
            401, "invalid_key", "This is not an API key. API keys start with cv_, followed by 40 letters and digits."
        )
    result = _cached_look_up(raw, keys.hash_of(raw))
    if isinstance(result, ApiError):
        raise ApiError(result.http_status, result.code, result.message)
    return result


def _cached_look_up(raw: str, digest: str) -> Caller | ApiError:
    now = _clock()
    cached = _cache.get(digest)
    if cached is not None and now < cached[0]:
        return cached[1]
    result = _look_up(raw, digest, timezone.now())
    if len(_cache) >= MAX_CACHED:
        _cache.clear()
    _cache[digest] = (now + CACHE_SECONDS, result)
    return result


def forget(key: ApiKey) -> None:
    """Drop the key from this process's cache."""
    _cache.pop(key.hash, None)


def _look_up(raw: str, digest: str, now: datetime) -> Caller | ApiError:
    # `order_by()`: the default ordering would double the cost of this function.
    key = next(iter(ApiKey.objects.filter(hash=digest).order_by().select_related("project")), None)
    if key is None or not hmac.compare_digest(key.hash, digest):
        return ApiError(
            401, "invalid_key", "Unknown API key. Copy it again, or create a new one under Team → API keys."
        )
    if key.revoked_at:
        return ApiError(401, "revoked_key", "This API key was revoked. Create a new one under Team → API keys.")
    if key.expires_at and key.expires_at <= now:
        return ApiError(401, "expired_key", "This API key was rotated and has expired. Use its successor.")
    _note_use(key, now)
    return _caller(key)


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
    """At most once a minute; a database too busy for this update must not fail a heartbeat."""
    before = now - LAST_USED_RESOLUTION
    if key.last_used_at and key.last_used_at > before:
        return
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=before)
    with suppress(OperationalError):
        ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)


def key_from(headers: Mapping[str, str]) -> str | None:
    """The key in the request headers: `X-API-Key`, else `Authorization: Bearer`."""
    key = headers.get("X-API-Key")
    if key:
        return key.strip()
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


class ApiKeyAuthentication(BaseAuthentication):
    """Sets `request.auth` to the Caller."""

    def authenticate(self, request: Request) -> tuple[None, Caller]:
        return None, authenticate_key(key_from(request.headers))

    def authenticate_header(self, request: Request) -> str:
        return "ApiKey"


class HasScope(BasePermission):
    """A view names the scope per method: `scope_for = {"POST": "agent"}`. Default: `read` for GET, else `full`."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        named: Mapping[str, str] = getattr(view, "scope_for", {})
        method = str(request.method)
        needed = named.get(method, Scope.READ if method in SAFE_METHODS else Scope.FULL)
        caller = request.auth
        scope = caller.scope if isinstance(caller, Caller) else ""
        if scope_allows(scope, needed, reading=method in SAFE_METHODS):
            return True
        message = f"This key has the scope {scope}, this call needs {needed}. Create another key under Team → API keys."
        raise ApiError(403, "scope", message)


def scope_allows(scope: str, needed: str, *, reading: bool) -> bool:
    """`full` allows everything, `read` every GET, `agent` only the calls that need it."""
    return scope in (Scope.FULL, needed) or (scope == Scope.READ and reading)
