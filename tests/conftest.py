"""Four people in every test: an owner, a member, a viewer of one team, and a stranger with a project of their own."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from teams import services
from teams.models import Membership, Project, Team, User
from teams.roles import Role
from watchdog_project import embedded
from watchdog_project.settings import broker_socket


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what cannot run here, and begin with what takes longest."""
    missing = {}
    if connection.vendor == "postgresql":
        missing["sqlite"] = pytest.mark.skip(reason="is about the embedded installation")
    else:
        missing["postgres"] = pytest.mark.skip(reason="needs PostgreSQL")
    if not (shutil.which("chromium") or shutil.which("chromium-browser")):
        missing["browser"] = pytest.mark.skip(reason="needs Chromium")
    for item in items:
        for name, skip in missing.items():
            if item.get_closest_marker(name):
                item.add_marker(skip)
    items.sort(key=lambda item: item.get_closest_marker("live") is None)


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """A running broker: Redis where REDIS_URL names it, else the embedded one. Its URL."""
    if settings.REDIS_URL:
        yield settings.REDIS_URL
        return
    path, folder = broker_socket(settings.DATA_DIR), settings.DATA_DIR / "broker"
    embedded.prepare_broker(path, folder, 0)
    with subprocess.Popen(embedded.broker_argv(path, folder), stdout=subprocess.DEVNULL) as server:
        while embedded.ask_broker(path, b"PING\r\n") is None and server.poll() is None:
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
    """The plaintext of an `agent` key of `project`."""
    return services.issue_key(project=project, name="test", actor="test")[1]


@pytest.fixture
def full_key(project: Project) -> str:
    return services.issue_key(project=project, name="full", scope="full", actor="test")[1]


@pytest.fixture
def client_of() -> object:
    """`client_of(user)` is a browser in which that person is signed in."""

    def signed_in(user: User) -> Client:
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return signed_in
