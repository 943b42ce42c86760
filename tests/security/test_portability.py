"""Owners take all data of their team along; a deletion leaves a receipt."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from alerts.models import Channel
from teams import portability, services
from teams.models import AuditEntry, Project, Team, User
from tests.agents.conftest import World

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"


@pytest.fixture
def full(world: World, project: Project, owner: User, viewer: User) -> Team:
    """A team with a row in most tables."""
    world.beat(0, message="page 3")
    world.beat(5, status="error", message="boom")
    world.look(6)
    Channel.objects.create(project=project, kind="webhook", name="pager", config={"secret": "whsec_4711abcdefgh"})
    services.invite(team=project.team, email="new@example.com", role="viewer", invited_by=owner, now=timezone.now())
    return project.team


def exported(team: Team) -> list[dict[str, Any]]:
    return [json.loads(line) for line in portability.lines(team)]


def test_everything_of_the_team_is_exported(full: Team, stranger: User, api_key: str) -> None:
    rows = exported(full)
    tables = {row["table"] for row in rows}
    assert tables >= {
        *("teams.team", "teams.user", "teams.membership", "teams.project", "teams.apikey", "teams.auditentry"),
        *("agents.agent", "agents.heartbeat", "agents.incident", "agents.signal", "alerts.channel"),
    }
    text = json.dumps(rows)
    assert "page 3" in text
    assert "viewer@example.com" in text
    assert "Elsewhere" not in text
    assert "stranger@example.com" not in text
    ping_key = Project.objects.get(team=full).ping_key
    hidden = ("whsec_4711abcdefgh", api_key, ping_key, "token_hash", "password", '"hash"', "session_key")
    assert [secret for secret in hidden if secret in text] == []


def confirmed(person: User) -> Client:
    """A browser in which the person has just given their password."""
    browser = Client()
    browser.post("/accounts/login/", {"login": person.email, "password": PASSWORD})
    assert browser.post("/accounts/reauthenticate/", {"password": PASSWORD}).status_code == 302
    return browser


def test_only_owners_export(full: Team, member: User, stranger: User, owner: User, client_of: Any) -> None:
    path = f"/admin/teams/team/{full.pk}/export/"
    for person in (member, stranger, owner):
        answer = client_of(person).get(path)
        assert answer.status_code in (302, 403, 404), person
        assert "reauthenticate" in answer.headers.get("Location", "/reauthenticate/")
    answer = confirmed(owner).get(path)
    assert answer.status_code == 200
    assert len(b"".join(answer).splitlines()) >= 10
    assert AuditEntry.objects.filter(team=full, action="team.exported", actor=owner.email).exists()
    for person in (member, stranger):
        assert confirmed(person).get(path).status_code in (403, 404)


def test_deletion_leaves_a_receipt(
    full: Team,
    owner: User,
    viewer: User,
    mailoutbox: list[Any],
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        services.delete_team(team=full, actor=owner.email, now=timezone.now() + timedelta(seconds=1))
    (mail,) = mailoutbox
    assert mail.to == [owner.email]
    logged = AuditEntry.objects.get(action="team.deleted")
    assert logged.data["receipt"] in mail.body
    assert "- agents: 1" in mail.body
    assert "- memberships: 2" in mail.body
    assert "These are kept" in mail.body


@pytest.mark.django_db(transaction=True)
def test_mail_that_fails_undoes_nothing(full: Team, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any) -> None:
        raise OSError("no server")

    monkeypatch.setattr("teams.mail.send_receipt", fail)
    monkeypatch.setattr("teams.mail.tell_of_key", fail)
    project = Project.objects.filter(team=full)[0]
    before = AuditEntry.objects.count()
    services.issue_key(project=project, name="new", scope="full", actor=owner.email)
    services.delete_team(team=full, actor=owner.email, now=timezone.now())
    assert AuditEntry.objects.count() == before + 2
