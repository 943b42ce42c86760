"""A team can require a second factor: without one, its members open nothing of it."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from django.contrib import admin
from django.test import Client

from teams import services
from teams.access import teams_of
from teams.errors import ApiError
from teams.models import AuditEntry, Project, Team, User

pytestmark = pytest.mark.django_db
SEED = "ABCDEFGHIJKLMNOP"


@pytest.fixture
def strict(team: Team, project: Project, owner: User) -> Team:
    TOTP.activate(owner, SEED)
    services.require_second_factor(team=team, required=True, by=owner)
    return team


def test_members_without_one_open_nothing(strict: Team, project: Project, viewer: User, client_of: Any) -> None:
    browser: Client = client_of(viewer)
    for model in admin.site._registry:
        path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        assert browser.get(path).status_code in (302, 403), path
    assert browser.get(f"/admin/teams/project/{project.pk}/change/").status_code in (302, 403, 404)
    assert not teams_of(viewer).exists()
    page = browser.get("/admin/", follow=True).content.decode()
    assert "two-factor authentication" in page
    assert "/accounts/2fa/" in page


def test_other_teams_stay_open(strict: Team, viewer: User, client_of: Any) -> None:
    other = services.create_team(owner=viewer, name="Elsewhere")
    browser: Client = client_of(viewer)
    page = browser.get("/admin/teams/team/").content.decode()
    assert other.name in page
    assert strict.name not in page.partition("<main")[2]


def test_second_factor_opens_the_team(strict: Team, viewer: User, client_of: Any) -> None:
    browser: Client = client_of(viewer)
    RecoveryCodes.activate(viewer)
    assert browser.get("/admin/teams/project/").status_code == 302
    TOTP.activate(viewer, SEED)
    assert browser.get("/admin/teams/project/").status_code == 200
    assert list(teams_of(viewer)) == [strict]


def test_nobody_locks_themselves_out(team: Team, owner: User, client_of: Any) -> None:
    with pytest.raises(ApiError, match="for yourself first"):
        services.require_second_factor(team=team, required=True, by=owner)
    data = {"name": team.name, "require_second_factor": "on"}
    page = client_of(owner).post(f"/admin/teams/team/{team.pk}/change/", data, follow=True)
    assert "for yourself first" in page.content.decode()
    team.refresh_from_db()
    assert not team.require_second_factor


def test_change_is_in_the_audit_log(team: Team, owner: User, client_of: Any) -> None:
    TOTP.activate(owner, SEED)
    browser: Client = client_of(owner)
    path = f"/admin/teams/team/{team.pk}/change/"
    assert browser.post(path, {"name": "Renamed", "require_second_factor": "on"}).status_code == 302
    team.refresh_from_db()
    assert (team.name, team.require_second_factor) == ("Renamed", True)
    entry = AuditEntry.objects.get(action="team.second_factor_required")
    assert (entry.actor, entry.data) == (owner.email, {"from": False, "to": True})
