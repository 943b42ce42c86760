"""Authentication and permissions of the API: which key, which project, which scope.

Every heartbeat authenticates, so the result, good or bad, is cached per process. After a second it is refreshed in the
background, and after two it is no longer used: another process may accept a revoked key for that long.
"""

import hmac
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from django.db import DatabaseError, OperationalError, connection
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
MAX_CACHE_SECONDS: Final = 2.0
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


# Hash of the key -> when it was looked up (monotonic), and the result.
_cache: dict[str, tuple[float, Caller | ApiError]] = {}


def authenticate_key(raw: str | None) -> Caller:
    """The caller behind a key. Raises 401, saying what to do, if it is missing, unknown, revoked or expired."""
    digest = _digest(raw)
    return _valid(_cached(digest) or _remember(digest))


def cached_caller(raw: str | None) -> Caller | None:
    """As `authenticate_key` without the database; None if only that can tell."""
    result = _cached(_digest(raw))
    return None if result is None else _valid(result)


def _digest(raw: str | None) -> str:
    if not raw:
        raise ApiError(401, "missing_key", "Send your project's API key in the X-API-Key header.")
    if not keys.looks_like_key(raw):
        raise ApiError(
            401, "invalid_key", "This is not an API key. API keys start with cv_, followed by 40 letters and digits."
        )
    return keys.hash_of(raw)


def _valid(result: Caller | ApiError) -> Caller:
    if isinstance(result, ApiError):
        raise ApiError(result.http_status, result.code, result.message)
    return result


def _cached(digest: str) -> Caller | ApiError | None:
    at, result = _cache.get(digest, (0.0, None))
    age = _clock() - at
    if result is None or age < CACHE_SECONDS:
        return result
    # Within a transaction, only its own connection sees its changes.
    if age >= MAX_CACHE_SECONDS or connection.in_atomic_block:
        return None
    _refresher.refresh(digest)
    return result


def _remember(digest: str) -> Caller | ApiError:
    at = _clock()
    (result,) = _look_up([digest], timezone.now()).values()
    if len(_cache) >= MAX_CACHED:
        _cache.clear()
    _cache[digest] = (at, result)
    return result


class _Refresher:
    """Looks up cached keys again, all that were used since the last time with one query."""

    def __init__(self) -> None:
        self._wanted: set[str] = set()
        self._guard = threading.Lock()

    def refresh(self, digest: str) -> None:
        with self._guard:
            is_running = bool(self._wanted)
            self._wanted.add(digest)
        if not is_running:
            threading.Thread(target=self._run, name="key-refresh", daemon=True).start()

    def _run(self) -> None:
        time.sleep(0.05)  # others expire at the same moment
        try:
            at, wanted = _clock(), list(self._wanted)
            found = _look_up(wanted, timezone.now())
            _cache.update({digest: (at, result) for digest, result in found.items() if digest in _cache})
        except DatabaseError:
            pass  # requests ask the database themselves once the results are too old
        finally:
            with self._guard:
                self._wanted.clear()
            connection.close()


_refresher = _Refresher()


def forget(key: ApiKey) -> None:
    """Drop the key from this process's cache."""
    _cache.pop(key.hash, None)


def _look_up(digests: Iterable[str], now: datetime) -> dict[str, Caller | ApiError]:
    # `order_by()`: the default ordering would double the cost of this function.
    found = {key.hash: key for key in ApiKey.objects.filter(hash__in=digests).order_by().select_related("project")}
    return {digest: _judged(found.get(digest), digest, now) for digest in digests}


def _judged(key: ApiKey | None, digest: str, now: datetime) -> Caller | ApiError:
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


def key_from(api_key: str, authorization: str) -> str | None:
    """The key in these headers: `X-API-Key`, else `Authorization: Bearer`."""
    if api_key:
        return api_key.strip()
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


class ApiKeyAuthentication(BaseAuthentication):
    """Sets `request.auth` to the Caller."""

    def authenticate(self, request: Request) -> tuple[None, Caller]:
        return None, authenticate_key(
            key_from(request.headers.get("X-API-Key", ""), request.headers.get("Authorization", ""))
        )

    def authenticate_header(self, request: Request) -> str:
        return "ApiKey"


class HasScope(BasePermission):
    """A view names the scope per method: `scope_for = {"POST": "agent"}`. Default: `read` for GET, else `full`."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        named: Mapping[str, str] = getattr(view, "scope_for", {})
        method = str(request.method)
        needed = named.get(method, Scope.READ if method in SAFE_METHODS else Scope.FULL)
        require_scope(request.auth, needed, reading=method in SAFE_METHODS)
        return True


def require_scope(caller: object, needed: str, *, reading: bool = False) -> None:
    """Raise ApiError 403 unless the caller's key allows the call."""
    scope = caller.scope if isinstance(caller, Caller) else ""
    if not scope_allows(scope, needed, reading=reading):
        message = f"This key has the scope {scope}, this call needs {needed}. Create another key under Team → API keys."
        raise ApiError(403, "scope", message)


def scope_allows(scope: str, needed: str, *, reading: bool) -> bool:
    """`full` allows everything, `read` every GET, `agent` only the calls that need it."""
    return scope in (Scope.FULL, needed) or (scope == Scope.READ and reading)
