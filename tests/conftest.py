"""The people in every test: owner, member and viewer of one team, a stranger with another project, and an operator."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest
import time_machine
from django.conf import settings
from django.db import connection
from django.template import Template
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from agents.domain import clocks
from alerts.channels import http
from teams import services
from teams.models import Membership, Project, Team, User
from teams.roles import Role
from watchdog_project import broker as embedded_broker
from watchdog_project.settings import broker_socket

USES_SERVERS = {"db", "transactional_db", "live_server", "broker"}
MAY_USE_SERVERS = ("django_db", "postgres", "live")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select the tests that can run here, and start with those that take longest."""
    if connection.vendor == "postgresql":
        deselect_pure(config, items)
    skip_impossible(items)
    items.sort(key=lambda item: item.get_closest_marker("live") is None)


def deselect_pure(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests without a database: they run on SQLite, and would only do the same again."""
    pure = [item for item in items if not uses_servers(item)]
    config.hook.pytest_deselected(items=pure)
    items[:] = [item for item in items if uses_servers(item)]


def uses_servers(item: pytest.Item) -> bool:
    fixtures: list[str] = getattr(item, "fixturenames", [])
    return bool(USES_SERVERS & set(fixtures)) or any(item.get_closest_marker(name) for name in MAY_USE_SERVERS)


def skip_impossible(items: list[pytest.Item]) -> None:
    """Skip tests that need something that is missing here, with the reason."""
    missing = {}
    if connection.vendor == "postgresql":
        missing["sqlite"] = pytest.mark.skip(reason="tests the embedded installation")
    else:
        missing["postgres"] = pytest.mark.skip(reason="needs PostgreSQL")
    if not (shutil.which("chromium") or shutil.which("chromium-browser")):
        missing["browser"] = pytest.mark.skip(reason="needs Chromium")
    for item in items:
        for name, skip in missing.items():
            if item.get_closest_marker(name):
                item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def _plain_templates(django_test_environment: None) -> None:
    """Render as in production: Django's test runner copies the context of every template, and no test reads it."""
    Template._render = lambda template, context: template.nodelist.render(context)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """End the idle connections of server and commit threads: PostgreSQL drops no database that somebody uses."""
    yield
    if connection.vendor != "postgresql":
        return
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        cursor.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}")


@pytest.fixture(scope="session", autouse=True)
def _closed_connections() -> Iterator[None]:
    """Close the connections kept to webhook receivers: one that is open at the end is a warning."""
    yield
    http.POOL.clear()


@pytest.fixture(autouse=True)
def _judged_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most stories begin with one heartbeat; only those marked `trial` give it an hour, as the server does."""
    if request.node.get_closest_marker("trial") is None:
        monkeypatch.setattr(clocks, "MAX_TRIAL", 0)


@pytest.fixture
def frozen_clock() -> Iterator[None]:
    """Stops the wall clock, so that "5 s ago" stays true however long a request takes."""
    with time_machine.travel(timezone.now(), tick=False):
        yield


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """The URL of a running broker: Redis if REDIS_URL is set, else the embedded broker."""
    if settings.REDIS_URL:
        yield settings.REDIS_URL
        return
    path, folder = broker_socket(settings.DATA_DIR), settings.DATA_DIR / "broker"
    embedded_broker.prepare_broker(path, folder, 0)
    with subprocess.Popen(embedded_broker.broker_argv(path, folder), stdout=subprocess.DEVNULL) as server:
        while embedded_broker.ask_broker(path, b"PING\r\n") is None and server.poll() is None:
            time.sleep(0.02)
        yield settings.CELERY_BROKER_URL
        server.terminate()


def _person(email: str) -> User:
    from allauth.account.models import EmailAddress

    user = User.objects.create_user(email, "correct horse battery")
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user


@pytest.fixture
def owner(db: None) -> User:
    return _person("owner@example.com")


@pytest.fixture
def team(owner: User) -> Team:
    return services.create_team(owner=owner, name="Research")


@pytest.fixture
def project(team: Team, owner: User) -> Project:
    return services.create_project(team=team, name="Production", actor=owner.email)


@pytest.fixture
def member(team: Team) -> User:
    user = _person("member@example.com")
    Membership.objects.create(team=team, user=user, role=Role.MEMBER)
    return user


@pytest.fixture
def viewer(team: Team) -> User:
    user = _person("viewer@example.com")
    Membership.objects.create(team=team, user=user, role=Role.VIEWER)
    return user


@pytest.fixture
def stranger(db: None) -> User:
    user = _person("stranger@example.com")
    other = services.create_team(owner=user, name="Elsewhere")
    services.create_project(team=other, name="Theirs", actor=user.email)
    return user


@pytest.fixture
def operator(db: None) -> User:
    return User.objects.create_superuser("operator@example.com", "correct horse battery")


@pytest.fixture
def api_key(project: Project) -> str:
    """The plaintext of an API key of `project` with the scope `agent`."""
    return services.issue_key(project=project, name="test", actor="test")[1]


@pytest.fixture
def full_key(project: Project) -> str:
    return services.issue_key(project=project, name="full", scope="full", actor="test")[1]


@pytest.fixture
def client_of() -> object:
    """`client_of(user)` returns a test client in which that person is signed in."""

    def signed_in(user: User) -> Client:
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return signed_in
