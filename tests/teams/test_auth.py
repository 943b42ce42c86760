from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from teams import auth, services
from teams.errors import ApiError
from teams.models import ApiKey, Project


class Clock:
    """The monotonic clock that the cache reads."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    auth._cache.clear()
    clock = Clock()
    monkeypatch.setattr(auth, "_clock", clock)
    yield clock
    auth._cache.clear()


def test_key_identifies_project_and_team(project: Project, api_key: str) -> None:
    caller = auth.authenticate_key(api_key)
    assert (caller.project_id, caller.team_id, caller.scope) == (project.pk, project.team_id, "agent")
    assert caller.actor == f"key:{api_key[:11]}"


@pytest.mark.parametrize(
    "raw", [None, "", "cv_", "nonsense", "cv_" + "a" * 39, "cv_" + "ü" * 40, "x" * 10_000, "cv_\x00"]
)
@pytest.mark.django_db
def test_malformed_key_needs_no_query(raw: str | None, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0), pytest.raises(ApiError) as refused:
        auth.authenticate_key(raw)
    assert refused.value.http_status == 401


def test_valid_key_is_cached_for_a_second(
    api_key: str, clock: Clock, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    auth.authenticate_key(api_key)
    clock.at += 0.99
    with django_assert_num_queries(0):
        auth.authenticate_key(api_key)
    clock.at += 0.02
    with django_assert_num_queries(1):
        auth.authenticate_key(api_key)


@pytest.mark.django_db
def test_unknown_key_is_cached_for_a_second(clock: Clock, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    raw = "cv_" + "a" * 40
    with django_assert_num_queries(1):
        for _ in range(3):
            with pytest.raises(ApiError, match="Unknown API key"):
                auth.authenticate_key(raw)


def test_cache_is_bounded(api_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MAX_CACHED", 3)
    for n in range(10):
        with pytest.raises(ApiError):
            auth.authenticate_key("cv_" + str(n) * 40)
    assert len(auth._cache) <= 3
    auth.authenticate_key(api_key)


def test_revocation_in_another_process(api_key: str, clock: Clock) -> None:
    auth.authenticate_key(api_key)
    ApiKey.objects.update(revoked_at=timezone.now())  # as another process would
    clock.at += auth.CACHE_SECONDS
    with pytest.raises(ApiError, match="was revoked"):
        auth.authenticate_key(api_key)


def test_failed_refresh_is_logged_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no database here")

    monkeypatch.setattr(auth, "_look_up", fail)
    monkeypatch.setattr("time.sleep", lambda _: None)
    refresher = auth._Refresher()
    refresher._wanted["digest"] = "127.0.0.1"
    refresher._run()
    assert "could not be looked up again" in caplog.text
    assert refresher._wanted == {}


def test_revocation_in_this_process(project: Project) -> None:
    key, raw = services.issue_key(project=project, name="x", actor="test")
    auth.authenticate_key(raw)
    services.revoke_key(key=key, actor="test", now=timezone.now())
    with pytest.raises(ApiError, match="was revoked"):
        auth.authenticate_key(raw)


def test_rotated_key_works_until_overlap_ends(project: Project, clock: Clock) -> None:
    key, raw = services.issue_key(project=project, name="x", actor="test")
    _, fresh = services.rotate_key(key=key, overlap=timedelta(hours=1), actor="test")
    assert auth.authenticate_key(raw).key_id == key.pk
    assert auth.authenticate_key(fresh).project_id == project.pk
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now())
    clock.at += auth.CACHE_SECONDS
    with pytest.raises(ApiError, match="has expired"):
        auth.authenticate_key(raw)
    auth.authenticate_key(fresh)


def test_last_used_is_updated_once_per_minute(api_key: str, clock: Clock) -> None:
    auth.authenticate_key(api_key)
    first = ApiKey.objects.get().last_used_at
    clock.at += 10
    auth.authenticate_key(api_key)
    assert ApiKey.objects.get().last_used_at == first
    assert first is not None
    ApiKey.objects.update(last_used_at=first - timedelta(seconds=61))
    clock.at += 10
    auth.authenticate_key(api_key)
    assert ApiKey.objects.get().last_used_at >= first  # type: ignore[operator]


@pytest.mark.parametrize(
    ("scope", "needed", "reading", "allowed"),
    [
        ("full", "full", False, True),
        ("full", "read", True, True),
        ("full", "agent", False, True),
        ("read", "read", True, True),
        ("read", "agent", True, True),
        ("read", "agent", False, False),
        ("read", "full", False, False),
        ("agent", "agent", False, True),
        ("agent", "agent", True, True),
        ("agent", "read", True, False),
        ("agent", "full", False, False),
        ("act", "act", False, True),
        ("act", "read", False, True),
        ("act", "agent", True, True),
        ("act", "agent", False, False),
        ("act", "full", False, False),
        ("read", "act", False, False),
        ("agent", "act", False, False),
        ("full", "act", False, True),
    ],
)
def test_scope_permissions(scope: str, needed: str, reading: bool, allowed: bool) -> None:
    assert auth.scope_allows(scope, needed, reading=reading) is allowed


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"X-API-Key": " cv_x "}, "cv_x"),
        ({"Authorization": "Bearer cv_x"}, "cv_x"),
        ({"Authorization": "bearer  cv_x"}, "cv_x"),
        ({"X-API-Key": "cv_x", "Authorization": "Bearer cv_y"}, "cv_x"),
        ({"Authorization": "Basic cv_x"}, None),
        ({}, None),
    ],
)
def test_key_from_headers(headers: dict[str, str], found: str | None) -> None:
    assert auth.key_from(headers.get("X-API-Key", ""), headers.get("Authorization", "")) == found
