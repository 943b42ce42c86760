"""What `teams.tenant_admin` does for any admin: choices, filters, autocomplete, permissions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.core.exceptions import ImproperlyConfigured
from django.test import Client, RequestFactory
from unfold.contrib.filters.admin import RelatedDropdownFilter

from teams import services
from teams.access import teams_of
from teams.models import ApiKey, Membership, Project, Team, User
from teams.roles import Action, Role
from teams.tenant_admin import ScopedRelatedFilter, TeamAdmin, TeamScoped, TeamTabularInline

Browser = Callable[[User], Client]


@pytest.mark.parametrize(
    ("who", "action", "names"),
    [
        ("owner", Action.OWN, ["Research"]),
        ("member", Action.CONFIGURE, ["Research"]),
        ("member", Action.MANAGE, []),
        ("viewer", Action.VIEW, ["Research"]),
        ("viewer", Action.OPERATE, []),
        ("stranger", Action.VIEW, ["Elsewhere"]),
        ("operator", Action.OWN, ["Elsewhere", "Research"]),
    ],
)
def test_teams_of_person(
    who: str, action: Action, names: list[str], team: Team, stranger: User, request: pytest.FixtureRequest
) -> None:
    assert [team.name for team in teams_of(request.getfixturevalue(who), action)] == names


def test_every_team_admin_is_scoped() -> None:
    pages: dict[Any, Any] = dict(admin.site._registry)
    unscoped = {model._meta.label for model, page in pages.items() if not isinstance(page, TeamScoped)}
    assert unscoped == {"teams.User", "teams.FailedSignIn"}


def test_no_list_is_editable() -> None:
    assert not [page for page in admin.site._registry.values() if page.list_editable]


def test_relation_filter_lists_own_rows(project: Project, stranger: User, client_of: Browser) -> None:
    second = services.create_team(owner=stranger, name="Second")
    another = services.create_project(team=second, name="Another", actor="test")
    services.issue_key(project=another, name="first", actor="test")
    page = client_of(stranger).get("/admin/teams/apikey/").content.decode()
    assert "Another" in page
    assert "Production" not in page


@pytest.mark.parametrize("given", ["project", "project__team", ("project", RelatedDropdownFilter)])
def test_relation_filters_are_replaced(given: Any) -> None:
    page = TeamAdmin(ApiKey, admin.site)
    path = given if isinstance(given, str) else given[0]
    assert page._scoped_filter(given) == (path, ScopedRelatedFilter)


@pytest.mark.parametrize("given", ["scope", "prefix", "project__strict", ("project", admin.RelatedOnlyFieldListFilter)])
def test_other_filters_are_unchanged(given: Any) -> None:
    assert TeamAdmin(ApiKey, admin.site)._scoped_filter(given) == given


@pytest.mark.parametrize(("parent", "seen"), [(Team, True), (User, False)])
def test_inline_team_path_must_lead_to_parent(parent: Any, seen: bool, team: Team, viewer: User) -> None:
    class Memberships(TeamTabularInline):
        model = Membership
        team_path = "team"

    request = RequestFactory().get("/")
    request.user = viewer
    held = team if parent is Team else viewer
    held.pk = team.pk
    page = Memberships(parent, admin.site)
    assert page.has_view_permission(request, held) is seen
    assert not page.has_change_permission(request, held)


def test_unscoped_filter_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured):
        TeamAdmin(ApiKey, admin.site)._scoped_filter("project__name")


def test_filter_value_of_other_team_matches_nothing(project: Project, stranger: User, client_of: Browser) -> None:
    services.issue_key(project=project, name="worker", actor="test")
    page = client_of(stranger).get(f"/admin/teams/apikey/?project__id__exact={project.pk}")
    assert "worker" not in page.content.decode()


def test_autocomplete_lists_own_rows(project: Project, stranger: User, client_of: Browser) -> None:
    asked = "/admin/autocomplete/?app_label=teams&model_name=apikey&field_name=project&term="
    found = client_of(stranger).get(asked).json()["results"]
    assert [row["text"] for row in found] == ["Theirs"]


def test_no_choices_without_scoped_admin(project: Project, owner: User, team: Team) -> None:
    page = TeamAdmin(Project, admin.site)
    request = RequestFactory().get("/")
    request.user = owner
    field = page.formfield_for_foreignkey(Team.members.through._meta.get_field("user"), request)
    assert not field.queryset.exists()


@pytest.mark.parametrize("object_id", ["x", "-1", "999999999999999999999", "1_00"])
def test_malformed_id_is_not_found(object_id: str, owner: User, team: Team, client_of: Browser) -> None:
    assert client_of(owner).get(f"/admin/teams/project/{object_id}/change/").status_code == 404


def test_list_queries_do_not_grow_with_rows(team: Team, owner: User, project: Project, client_of: Browser) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as seen:
            client_of(owner).get("/admin/teams/apikey/")
        return len(seen)

    services.issue_key(project=project, name="first", actor=owner.email)
    client_of(owner).get("/admin/teams/apikey/")
    few = queries()
    for n in range(20):
        services.issue_key(project=project, name=str(n), actor=owner.email)
    assert queries() == few


def test_delete_page_counts_related_rows(project: Project, owner: User, member: User, client_of: Browser) -> None:
    services.issue_key(project=project, name="worker", actor="test")
    page = client_of(owner).get(f"/admin/teams/project/{project.pk}/delete/").content.decode()
    assert "<strong>1</strong> API key<" in page
    assert "worker" not in page


def test_roles_differ_by_team(team: Team, project: Project, stranger: User, client_of: Browser) -> None:
    Membership.objects.create(team=team, user=stranger, role=Role.VIEWER)
    browser = client_of(stranger)
    own = Project.objects.get(name="Theirs")
    data = {"name": "Changed", "time_zone": "UTC"}
    assert browser.post(f"/admin/teams/project/{project.pk}/change/", data).status_code == 403
    assert browser.post(f"/admin/teams/project/{own.pk}/change/", data).status_code == 302
    assert set(Project.objects.values_list("name", flat=True)) == {"Production", "Changed"}
