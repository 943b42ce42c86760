"""Authentication and permissions of the API: which key, which project, which scope.

Every heartbeat authenticates, so the result, good or bad, is cached per process. After a second it is refreshed in the
background, and after two it is no longer used: another process may accept a revoked key for that long.
"""

import hmac
import logging
import threading
import time
from collections.abc import Mapping
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

from teams import keys, networks, prices
from teams.errors import ApiError
from teams.models import NEW_AGENTS_PER_HOUR, ApiKey, Scope
from teams.networks import Networks
from teams.prices import Override

if TYPE_CHECKING:  # that module imports this one, through DRF's settings
    from rest_framework.views import APIView

CACHE_SECONDS: Final = 1.0
MAX_CACHE_SECONDS: Final = 2.0
MAX_CACHED: Final = 10_000
# How exact `last_used_at` is: an update per heartbeat would cost too much.
LAST_USED_RESOLUTION: Final = timedelta(minutes=1)
MAX_ADDRESS: Final = 45
_clock = time.monotonic
log = logging.getLogger(__name__)


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
    # `ApiKey.line`: what names are bound to, if the project binds them.
    line: int = 0
    binds_names: bool = False
    # How agents are named that telemetry does not name; empty: after their service.
    agent_rule: str = field(default="", compare=False)
    # The only agent it may report as; empty: any.
    agent: str = ""
    # Where it may be used; empty: everywhere.
    networks: Networks = ()
    new_agents_per_hour: int = NEW_AGENTS_PER_HOUR
    # Whether the team has room for the texts of heartbeats today.
    keeps_details: bool = True

    @property
    def actor(self) -> str:
        """Its name in the audit log."""
        return f"key:{self.prefix}"


# Hash of the key -> when it was looked up (monotonic), and the result.
_cache: dict[str, tuple[float, Caller | ApiError]] = {}


def authenticate_key(raw: str | None, address: str = "") -> Caller:
    """The caller behind a key, used from an address.

    Raises 401, saying what to do, if the key is missing, unknown, revoked or expired, and 403 `address_not_allowed` if
    it must not be used from there.
    """
    digest = _digest(raw)
    return _valid(_cached(digest, address) or _remember(digest, address), address)


def cached_caller(raw: str | None, address: str = "") -> Caller | None:
    """As `authenticate_key` without the database; None if only that can tell."""
    result = _cached(_digest(raw), address)
    return None if result is None else _valid(result, address)


def _digest(raw: str | None) -> str:
    if not raw:
        raise ApiError(401, "missing_key", "Send your project's API key in the X-API-Key header.")
    if not keys.looks_like_key(raw):
        raise ApiError(
            401, "invalid_key", "This is not an API key. API keys start with cv_, followed by 40 letters and digits."
        )
    return keys.hash_of(raw)


def _valid(result: Caller | ApiError, address: str) -> Caller:
    if isinstance(result, ApiError):
        raise ApiError(result.http_status, result.code, result.message)
    if result.networks and not networks.contain(result.networks, address):
        message = f"This API key must not be used from {address or 'an unknown address'}. Add it under Team → API keys."
        raise ApiError(403, "address_not_allowed", message)
    return result


def _cached(digest: str, address: str) -> Caller | ApiError | None:
    at, result = _cache.get(digest, (0.0, None))
    age = _clock() - at
    if result is None or age < CACHE_SECONDS:
        return result
    # Within a transaction, only its own connection sees its changes.
    if age >= MAX_CACHE_SECONDS or connection.in_atomic_block:
        return None
    _refresher.refresh(digest, address)
    return result


def _remember(digest: str, address: str) -> Caller | ApiError:
    at = _clock()
    (result,) = _look_up({digest: address}, timezone.now()).values()
    if len(_cache) >= MAX_CACHED:
        _cache.clear()
    _cache[digest] = (at, result)
    return result


class _Refresher:
    """Looks up cached keys again, all that were used since the last time with one query."""

    def __init__(self) -> None:
        # Hash of the key -> where it was used.
        self._wanted: dict[str, str] = {}
        self._guard = threading.Lock()

    def refresh(self, digest: str, address: str) -> None:
        with self._guard:
            is_running = bool(self._wanted)
            self._wanted[digest] = address
        if not is_running:
            threading.Thread(target=self._run, name="key-refresh", daemon=True).start()

    def _run(self) -> None:
        time.sleep(0.05)  # others expire at the same moment
        try:
            with self._guard:
                at, wanted = _clock(), dict(self._wanted)
            found = _look_up(wanted, timezone.now())
            _cache.update({digest: (at, result) for digest, result in found.items() if digest in _cache})
        except DatabaseError:
            pass  # requests ask the database themselves once the results are too old
        except Exception:
            log.exception("cached API keys could not be looked up again")
        finally:
            with self._guard:
                self._wanted.clear()
            connection.close()


_refresher = _Refresher()


def forget(key: ApiKey) -> None:
    """Drop the key from this process's cache."""
    _cache.pop(key.hash, None)


def _look_up(used: Mapping[str, str], now: datetime) -> dict[str, Caller | ApiError]:
    """By the hash of the key, as `used`, which says where each key was used."""
    # `order_by()`: the default ordering would double the cost of this function.
    rows = ApiKey.objects.filter(hash__in=list(used)).order_by().select_related("project__team")
    found = {key.hash: key for key in rows}
    return {digest: _judged(found.get(digest), digest, address, now) for digest, address in used.items()}


def _judged(key: ApiKey | None, digest: str, address: str, now: datetime) -> Caller | ApiError:
    if key is None or not hmac.compare_digest(key.hash, digest):
        return ApiError(
            401, "invalid_key", "Unknown API key. Copy it again, or create a new one under Team → API keys."
        )
    if key.revoked_at:
        return ApiError(401, "revoked_key", "This API key was revoked. Create a new one under Team → API keys.")
    if key.expires_at and key.expires_at <= now:
        return ApiError(401, "expired_key", "This API key has expired. Use its successor, or create a new one.")
    caller = _caller(key, now)
    # A refused address is no use of the key, and must not hide where it was last used.
    if not caller.networks or networks.contain(caller.networks, address):
        _note_use(key, address, now)
    return caller


def _caller(key: ApiKey, now: datetime) -> Caller:
    project, full_until = key.project, key.project.team.details_off_until
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
        line=key.line,
        binds_names=project.bind_names,
        agent_rule=project.agent_rule,
        agent=key.agent,
        networks=networks.compiled(key.allowed_networks),
        new_agents_per_hour=key.new_agents_per_hour,
        keeps_details=full_until is None or full_until <= now,
    )


def _note_use(key: ApiKey, address: str, now: datetime) -> None:
    """When and where. At most once a minute; a database too busy for this update must not fail a heartbeat."""
    before = now - LAST_USED_RESOLUTION
    if key.last_used_at and key.last_used_at > before:
        return
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=before)
    with suppress(OperationalError):
        ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now, last_used_address=address[:MAX_ADDRESS])


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
            key_from(request.headers.get("X-API-Key", ""), request.headers.get("Authorization", "")),
            str(request.META.get("REMOTE_ADDR", "")),
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
    """`full` allows everything, `read` every GET, `act` that and what needs it, `agent` only the calls that need it."""
    if scope == Scope.ACT:
        return reading or needed in (Scope.ACT, Scope.READ)
    return scope in (Scope.FULL, needed) or (scope == Scope.READ and reading)
