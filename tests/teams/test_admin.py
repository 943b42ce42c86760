"""Admin pages of the teams app, for each role."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, timedelta

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.admin.models import LogEntry
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from teams import auth, services, times
from teams.errors import ApiError
from teams.models import ApiKey, AuditEntry, FailedSignIn, Invitation, Membership, Project, Team, User
from teams.roles import Role
from tests.agents.admin.conftest import make_agent

Browser = Callable[[User], Client]
PAGES = ["team", "membership", "invitation", "project", "apikey", "auditentry"]


@pytest.fixture
def key(project: Project) -> ApiKey:
    return services.issue_key(project=project, name="worker", actor="test")[0]


@pytest.fixture
def rows(team: Team, project: Project, key: ApiKey, owner: User, member: User, viewer: User) -> dict[str, int]:
    """The id of one row per model that belongs to the team."""
    invitation, _ = services.invite(
        team=team, email="new@example.com", role="viewer", invited_by=owner, now=timezone.now()
    )
    return {
        "team": team.pk,
        "project": project.pk,
        "apikey": key.pk,
        "invitation": invitation.pk,
        "membership": Membership.objects.get(team=team, user=member).pk,
        "auditentry": AuditEntry.objects.filter(team=team).latest("id").pk,
    }


def address(kind: str, rest: str = "") -> str:
    return f"/admin/teams/{kind}/{rest}"


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize("page", ["change", "history", "delete"])
def test_other_teams_rows_are_not_found(
    kind: str, page: str, rows: dict[str, int], stranger: User, client_of: Browser
) -> None:
    browser = client_of(stranger)
    answers = [browser.get(address(kind, f"{rows[kind]}/{page}/")), browser.get(address(kind, f"999999/{page}/"))]
    assert answers[0].status_code == answers[1].status_code
    assert answers[0].status_code in (403, 404)  # 403 where nobody may do that to any row
    assert page != "change" or answers[0].status_code == 404


@pytest.mark.parametrize("kind", PAGES)
def test_list_shows_nothing_of_other_teams(kind: str, rows: dict[str, int], stranger: User, client_of: Browser) -> None:
    page = client_of(stranger).get(address(kind)).content.decode()
    for text in ("Research", "Production", "member@example.com", "new@example.com", "worker"):
        assert text not in page
    assert stranger.email in page


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize("who", ["owner", "member", "viewer", "operator"])
def test_members_and_operator_can_view(
    kind: str, who: str, rows: dict[str, int], client_of: Browser, request: pytest.FixtureRequest
) -> None:
    browser = client_of(request.getfixturevalue(who))
    assert browser.get(address(kind)).status_code == 200
    assert browser.get(address(kind, f"{rows[kind]}/change/")).status_code == 200


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize("who", ["member", "viewer"])
@pytest.mark.parametrize("page", ["add/", "{}/change/", "{}/delete/"])
def test_changes_require_manage_permission(
    kind: str, who: str, page: str, rows: dict[str, int], client_of: Browser, request: pytest.FixtureRequest
) -> None:
    browser = client_of(request.getfixturevalue(who))
    assert browser.post(address(kind, page.format(rows[kind])), {"post": "yes", "name": "x"}).status_code == 403


@pytest.mark.parametrize("who", ["owner", "member", "viewer", "stranger"])
def test_people_pages_are_for_the_operator(
    who: str, team: Team, client_of: Browser, operator: User, request: pytest.FixtureRequest
) -> None:
    for page in ("/admin/teams/user/", "/admin/teams/failedsignin/"):
        assert client_of(request.getfixturevalue(who)).get(page).status_code == 403
        assert client_of(operator).get(page).status_code == 200


def test_filter_people_by_account_state(viewer: User, owner: User, operator: User, client_of: Browser) -> None:
    User.objects.filter(pk=viewer.pk).update(is_active=False)
    browser = client_of(operator)
    for asked, found in {"active": {owner, operator}, "deactivated": {viewer}, "operator": {operator}}.items():
        body = browser.get(f"/admin/teams/user/?account={asked}").content.decode()
        assert {one for one in (viewer, owner, operator) if f'user/{one.pk}/change/">' in body} == found
    assert "No matches." in browser.get("/admin/teams/user/?q=nobody").content.decode()


def test_deleting_a_failed_sign_in_lifts_lockout(operator: User, client_of: Browser) -> None:
    browser, page = client_of(operator), "/admin/teams/failedsignin/"
    assert "No failed sign-ins" in browser.get(page).content.decode()
    row = FailedSignIn.objects.create(username="ada@example.com", ip_address="10.0.0.9", failures_since_start=10)
    body = browser.get(page).content.decode()
    assert 'aria-label="Select ada@example.com from 10.0.0.9"' in body
    assert "After 10 failed attempts for one account, an IP address is locked out for 15 minutes." in body
    browser.post(page, {"action": "delete_selected", "_selected_action": row.pk, "post": "yes"})
    assert not FailedSignIn.objects.exists()


def test_operator_edits_a_person(viewer: User, operator: User, client_of: Browser) -> None:
    page = f"/admin/teams/user/{viewer.pk}/change/"
    browser = client_of(operator)
    body = browser.get(page).content.decode()
    assert "Research" in body
    assert "A deactivated person cannot sign in." in body
    assert times.exact(viewer.date_joined, UTC) in body
    inlines = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    assert browser.post(page, {"name": "Ada", "time_zone": "UTC", **inlines}).status_code == 302
    viewer.refresh_from_db()
    assert (viewer.name, viewer.is_active, viewer.is_superuser) == ("Ada", False, False)
    assert browser.get(f"/admin/teams/user/{viewer.pk}/delete/").status_code == 403


def test_without_team_admin_redirects_to_teams(client_of: Browser, db: None) -> None:
    loner = User.objects.create_user("loner@example.com")
    answer = client_of(loner).get("/admin/", follow=True)
    assert answer.redirect_chain[-1][0] == "/accounts/teams/"


def test_admin_redirects_to_sign_in(db: None) -> None:
    answer = Client().get("/admin/teams/apikey/", follow=True)
    assert answer.redirect_chain[-1][0] == "/accounts/login/?next=/admin/teams/apikey/"


def test_deactivated_member_is_signed_out(viewer: User, client_of: Browser) -> None:
    browser = client_of(viewer)
    User.objects.filter(pk=viewer.pk).update(is_active=False)
    assert browser.get("/admin/teams/project/").status_code == 302


def make_key(browser: Client, project: Project, **more: str) -> str:
    data = {"project": project.pk, "name": "fresh", "scope": "agent", **more}
    answer = browser.post("/admin/teams/apikey/add/", data)
    assert answer.status_code == 200
    return answer.content.decode().split('id="new-key"')[1].split(">")[1].split("<")[0]


def test_new_key_is_shown_once_and_not_stored(project: Project, owner: User, client_of: Browser) -> None:
    browser = client_of(owner)
    raw = make_key(browser, project)
    assert auth.authenticate_key(raw).project_id == project.pk
    secret = raw[11:]
    later = [browser.get("/admin/teams/apikey/"), browser.get("/admin/teams/auditentry/")]
    assert all(secret not in page.content.decode() for page in later)
    assert secret not in str(list(browser.session.items()))
    assert secret not in str(list(LogEntry.objects.values())) + str(list(AuditEntry.objects.values()))
    assert "no-store" in browser.get("/admin/teams/apikey/").headers["Cache-Control"]


def test_key_requires_managed_project(project: Project, stranger: User, owner: User, client_of: Browser) -> None:
    data = {"project": project.pk, "name": "fresh", "scope": "full"}
    answer = client_of(stranger).post("/admin/teams/apikey/add/", data)
    assert answer.status_code == 200
    assert "Select a valid choice" in answer.content.decode()
    assert not ApiKey.objects.exists()


def test_create_keys_only_where_role_allows(project: Project, stranger: User, team: Team, client_of: Browser) -> None:
    Membership.objects.create(team=team, user=stranger, role=Role.VIEWER)
    browser = client_of(stranger)
    form = browser.get("/admin/teams/apikey/add/").content.decode()
    assert "Theirs" in form
    assert "Production" not in form
    browser.post("/admin/teams/apikey/add/", {"project": project.pk, "name": "fresh", "scope": "full"})
    assert not ApiKey.objects.exists()


def test_action_skips_rows_without_permission(key: ApiKey, stranger: User, team: Team, client_of: Browser) -> None:
    own, _ = services.issue_key(project=Project.objects.get(name="Theirs"), name="own", actor="test")
    Membership.objects.create(team=team, user=stranger, role=Role.VIEWER)
    data = {"action": "revoke_selected", "_selected_action": [key.pk, own.pk]}
    client_of(stranger).post("/admin/teams/apikey/", data)
    key.refresh_from_db()
    own.refresh_from_db()
    assert key.revoked_at is None
    assert own.revoked_at is not None


def test_rotation_shows_successor_and_overlaps(key: ApiKey, owner: User, client_of: Browser) -> None:
    browser = client_of(owner)
    page = address("apikey", f"{key.pk}/rotate/")
    assert "24 hours" in browser.get(page).content.decode()
    answer = browser.post(page, {"overlap": "168"}).content.decode()
    key.refresh_from_db()
    assert key.expires_at is not None
    assert timedelta(days=6.9) < key.expires_at - timezone.now() <= timedelta(days=7)
    assert "cv_" in answer.split('id="new-key"')[1]
    assert ApiKey.objects.count() == 2


def test_revocation_asks_for_confirmation(project: Project, owner: User, client_of: Browser) -> None:
    key, raw = services.issue_key(project=project, name="worker", actor="test")
    page = address("apikey", f"{key.pk}/revoke/")
    browser = client_of(owner)
    browser.get(page)
    assert auth.authenticate_key(raw)
    browser.post(page)
    with pytest.raises(ApiError):
        auth.authenticate_key(raw)


@pytest.mark.parametrize("do", ["rotate", "revoke"])
@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("member", 403), ("stranger", 404)])
def test_rotate_and_revoke_require_manage(
    do: str, who: str, status: int, key: ApiKey, client_of: Browser, request: pytest.FixtureRequest
) -> None:
    browser = client_of(request.getfixturevalue(who))
    page = address("apikey", f"{key.pk}/{do}/")
    assert browser.get(page).status_code == status
    assert browser.post(page, {"overlap": "0"}).status_code == status
    key.refresh_from_db()
    assert (key.revoked_at, key.expires_at) == (None, None)


def test_invitation_is_mailed_and_shown(team: Team, owner: User, client_of: Browser) -> None:
    data = {"team": team.pk, "email": "New@Example.com", "role": "member"}
    page = client_of(owner).post("/admin/teams/invitation/add/", data).content.decode()
    link = page.split('id="invitation-link"')[1].split(">")[1].split("<")[0]
    assert link in str(mail.outbox[0].body)
    assert mail.outbox[0].to == ["new@example.com"]
    assert Invitation.objects.get().role == Role.MEMBER


def test_invitation_survives_mail_failure(
    team: Team, owner: User, client_of: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*args: object, **kwargs: object) -> int:
        raise ConnectionRefusedError

    monkeypatch.setattr("teams.mail.send_mail", down)
    data = {"team": team.pk, "email": "new@example.com", "role": "member"}
    answer = client_of(owner).post("/admin/teams/invitation/add/", data)
    assert answer.status_code == 200
    assert 'id="invitation-link"' in answer.content.decode()


def test_admin_cannot_invite_owner(team: Team, owner: User, client_of: Browser) -> None:
    admin = User.objects.create_user("admin@example.com")
    Membership.objects.create(team=team, user=admin, role=Role.ADMIN)
    data = {"team": team.pk, "email": "new@example.com", "role": "owner"}
    assert "Select a valid choice" in client_of(admin).post("/admin/teams/invitation/add/", data).content.decode()
    assert not Invitation.objects.exists()


def test_member_limit_counts_invitations(team: Team, owner: User, member: User, client_of: Browser) -> None:
    for name in ("a", "b"):
        data = {"team": team.pk, "email": f"{name}@example.com", "role": "viewer"}
        answer = client_of(owner).post("/admin/teams/invitation/add/", data, follow=True)
    assert Invitation.objects.count() == 1
    assert "The Free plan allows 3 members, and all are in use" in answer.content.decode()


def test_project_limit(team: Team, owner: User, client_of: Browser) -> None:
    for name in ("a", "b", "c", "d"):
        data = {"team": team.pk, "name": name, "time_zone": "Europe/Berlin"}
        answer = client_of(owner).post("/admin/teams/project/add/", data, follow=True)
    assert set(team.projects.values_list("name", "time_zone")) == {(name, "Europe/Berlin") for name in "abc"}
    assert "The Free plan allows 3 projects, and all are in use" in answer.content.decode()


def test_project_cannot_change_team(project: Project, owner: User, client_of: Browser) -> None:
    other = services.create_team(owner=owner, name="Other")
    data = {"team": other.pk, "name": "Renamed", "time_zone": "UTC", "strict": "on"}
    client_of(owner).post(address("project", f"{project.pk}/change/"), data)
    project.refresh_from_db()
    assert (project.name, project.strict, project.team.name) == ("Renamed", True, "Research")


@pytest.mark.parametrize(("grace", "kept"), [("4", None), ("0", None), ("5", 5), ("", None)])
def test_minimum_grace_is_five_seconds(
    project: Project, owner: User, client_of: Browser, grace: str, kept: int | None
) -> None:
    data = {"name": "Renamed", "time_zone": "UTC", "default_grace": grace}
    answer = client_of(owner).post(address("project", f"{project.pk}/change/"), data)
    project.refresh_from_db()
    assert (project.default_grace, answer.status_code) == (kept, 302 if grace in ("5", "") else 200)


def test_deleting_a_project_requires_its_name(key: ApiKey, owner: User, client_of: Browser) -> None:
    page = address("project", f"{key.project_id}/delete/")
    browser = client_of(owner)
    assert "<strong>1</strong> API key<" in browser.get(page).content.decode()
    for typed in ("", "Productio"):
        answer = browser.post(page, {"post": "yes", "typed": typed}, follow=True)
        assert "the name you typed is not “Production”" in answer.content.decode()
    browser.post(page, {"post": "yes", "typed": "Production"})
    assert browser.get(address("project", f"{key.project_id}/change/")).status_code == 404
    assert AuditEntry.objects.filter(action="project.deleted").exists()


def change_role(browser: Client, membership: Membership, role: str) -> str:
    answer = browser.post(address("membership", f"{membership.pk}/change/"), {"role": role}, follow=True)
    membership.refresh_from_db()
    return answer.content.decode()


def test_owner_changes_role(team: Team, owner: User, member: User, client_of: Browser) -> None:
    held = Membership.objects.get(team=team, user=member)
    change_role(client_of(owner), held, "admin")
    assert held.role == Role.ADMIN
    assert AuditEntry.objects.filter(action="member.changed").count() == 1


def test_last_owner_cannot_leave(team: Team, owner: User, client_of: Browser) -> None:
    held = Membership.objects.get(team=team, user=owner)
    assert "A team needs at least one owner" in change_role(client_of(owner), held, "viewer")
    assert held.role == Role.OWNER
    page = client_of(owner).post(address("membership", f"{held.pk}/delete/"), {"post": "yes"}, follow=True)
    assert "A team needs at least one owner" in page.content.decode()
    assert Membership.objects.filter(pk=held.pk).exists()


def test_bulk_removal_of_members(team: Team, owner: User, member: User, viewer: User, client_of: Browser) -> None:
    ids = list(team.memberships.exclude(user=owner).values_list("pk", flat=True))
    data = {"action": "delete_selected", "_selected_action": ids, "post": "yes"}
    client_of(owner).post(address("membership"), data)
    assert list(team.memberships.values_list("user__email", flat=True)) == [owner.email]
    assert AuditEntry.objects.filter(action="member.removed").count() == 2


@pytest.mark.parametrize("who", ["owner", "operator"])
def test_audit_log_is_read_only(
    who: str, rows: dict[str, int], client_of: Browser, request: pytest.FixtureRequest
) -> None:
    browser = client_of(request.getfixturevalue(who))
    for page in ("add/", f"{rows['auditentry']}/change/", f"{rows['auditentry']}/delete/"):
        assert browser.post(address("auditentry", page), {"post": "yes"}).status_code == 403


def test_side_bar_depends_on_permissions(viewer: User, operator: User, client_of: Browser) -> None:
    seen = client_of(viewer).get("/admin/teams/project/").content.decode()
    assert "/admin/teams/apikey/" in seen
    assert "/admin/teams/user/" not in seen
    assert "/admin/teams/user/" in client_of(operator).get("/admin/teams/project/").content.decode()


@pytest.mark.parametrize("path", ["/admin/teams/project/", "/", "/accounts/login/"])
def test_content_security_policy(path: str, owner: User, team: Team, client_of: Browser) -> None:
    browser = Client() if path == "/accounts/login/" else client_of(owner)
    policy = browser.get(path).headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert "unsafe-eval" not in policy
    assert ("style-src 'self' 'unsafe-inline'" in policy) == path.startswith("/admin/")
    assert policy.count("unsafe") == path.startswith("/admin/")


def test_lists_show_relative_times(key: ApiKey, owner: User, client_of: Browser) -> None:
    made = timezone.now() - timedelta(minutes=12)
    ApiKey.objects.filter(pk=key.pk).update(created_at=made, last_used_at=None)
    shown = client_of(owner).get("/admin/teams/apikey/").content.decode()
    assert re.search(r'<time datetime="[^"]+" title="[^"]+ UTC">12 min ago</time>', shown)
    assert "never" in shown


def test_key_page_names_affected_agents(key: ApiKey, project: Project, owner: User, client_of: Browser) -> None:
    make_agent(project, "reports", source=f"{key.pk}/10.0.0.1")
    make_agent(project, "reported", beat=3_700, source=f"{key.pk}/10.0.0.1")
    make_agent(project, "by-another", source=f"{key.pk}1/10.0.0.1")
    for page in ("revoke/", "change/"):
        shown = " ".join(client_of(owner).get(address("apikey", f"{key.pk}/{page}")).content.decode().split())
        assert '1 agent <span class="w-soft">reports</span>' in shown


def test_only_project_is_preselected(project: Project, owner: User, client_of: Browser) -> None:
    page = "/admin/teams/apikey/add/"
    browser = client_of(owner)
    assert f'<option value="{project.pk}" selected' in browser.get(page).content.decode()
    services.create_project(team=project.team, name="Second", actor=owner.email)
    assert f'<option value="{project.pk}" selected' not in browser.get(page).content.decode()


def test_form_has_one_button_and_stays(project: Project, owner: User, client_of: Browser) -> None:
    page, browser = address("project", f"{project.pk}/change/"), client_of(owner)
    shown = browser.get(page).content.decode()
    for noise in ("_addanother", "_continue", "related-widget-wrapper", "deletelink"):
        assert noise not in shown
    assert "Delete this project…" in shown
    assert browser.post(page, {"name": "Renamed", "time_zone": "UTC"}).headers["Location"] == page


def test_deleting_a_team_requires_its_name(key: ApiKey, team: Team, owner: User, client_of: Browser) -> None:
    make_agent(key.project)
    browser, page = client_of(owner), address("team", f"{team.pk}/delete/")
    shown = browser.get(page).content.decode()
    for goes in ("<strong>1</strong> project<", "<strong>1</strong> agent<", "<strong>1</strong> API key<"):
        assert goes in shown
    browser.post(page, {"post": "yes"})
    assert "Research" in browser.get("/admin/teams/team/").content.decode()
    browser.post(page, {"post": "yes", "typed": "Research"})
    assert not Team.objects.active().exists()


def test_invitation_is_resent_with_new_link(team: Team, owner: User, member: User, client_of: Browser) -> None:
    now = timezone.now()
    old, token = services.invite(team=team, email="new@example.com", role="viewer", invited_by=owner, now=now)
    browser, page = client_of(owner), address("invitation", f"{old.pk}/send_again/")
    assert "stops working" in browser.get(page).content.decode()
    shown = browser.post(page).content.decode()  # the member limit is reached, but an open invitation counts already
    assert 'id="invitation-link"' in shown
    assert len(mail.outbox) == 1
    assert (Invitation.objects.get().role, Invitation.objects.count()) == ("viewer", 1)
    with pytest.raises(ApiError):
        services.find_invitation(token=token, now=now)


def test_resending_expired_invitation_checks_limit(
    team: Team, owner: User, member: User, viewer: User, client_of: Browser
) -> None:
    then = timezone.now() - timedelta(days=8)
    old, _ = services.invite(team=team, email="new@example.com", role="viewer", invited_by=owner, now=then)
    answer = client_of(owner).post(address("invitation", f"{old.pk}/send_again/"), follow=True)
    assert "The Free plan allows 3 members, and all are in use" in answer.content.decode()
    assert mail.outbox == []


def test_members_page(team: Team, owner: User, member: User, client_of: Browser) -> None:
    services.invite(team=team, email="new@example.com", role="viewer", invited_by=owner, now=timezone.now())
    Authenticator.objects.create(user=member, type=Authenticator.Type.TOTP, data={})
    shown = " ".join(client_of(owner).get("/admin/teams/membership/").content.decode().split())
    assert "new@example.com</a> as viewer" in shown
    assert "read-only access" in shown
    assert (shown.count("</span>on</span>"), shown.count("</span>off</span>")) == (1, 1)
    seen = client_of(member).get("/admin/teams/membership/").content.decode()
    assert "Two-factor</th>" in shown
    assert "Two-factor</th>" not in seen
    assert "Only admins and owners can invite people." in seen


def test_audit_log_wording_and_links(
    key: ApiKey, project: Project, team: Team, owner: User, client_of: Browser
) -> None:
    services.audit(team=team, actor=owner.email, action="member.changed", target="x", data={"from": "a", "to": "b"})
    data = {"successor": "cv_1", "until": "2026-11-28T07:58:11.347+00:00", "fields": ["name", "prices"]}
    services.audit(team=team, actor=owner.email, action="key.rotated", target="x", data=data)
    gone = services.issue_key(project=project, name="gone", actor=owner.email)[0]
    gone.delete()
    browser = client_of(owner)
    shown = " ".join(browser.get("/admin/teams/auditentry/").content.decode().split())
    assert f'created the API key <a class="w-link" href="{address("apikey", f"{key.pk}/change/")}">{key}</a>' in shown
    assert f"created the API key <strong>{gone}</strong>" in shown
    assert "from a to b" in shown
    for fact in ("successor: cv_1", "until: 28 Nov 2026, 07:58:11 UTC", "fields: name, prices"):  # in any order
        assert fact in shown
    assert "key.created" not in shown


def test_history_of_one_object(key: ApiKey, owner: User, client_of: Browser) -> None:
    browser = client_of(owner)
    of = f"/admin/teams/auditentry/?of=teams.apikey:{key.pk}"
    assert of in browser.get(address("apikey", f"{key.pk}/change/")).content.decode()
    shown = browser.get(of).content.decode()
    assert "created the API key" in shown
    assert "created the team" not in shown
    assert "created the team" in browser.get("/admin/teams/auditentry/", follow=True).content.decode()


@pytest.mark.parametrize("kind", PAGES)
def test_lists_use_few_queries(kind: str, rows: dict[str, int], owner: User, client_of: Browser) -> None:
    browser = client_of(owner)
    browser.get(address(kind))
    with CaptureQueriesContext(connection) as few:
        browser.get(address(kind))
    assert len(few) <= 20, [one["sql"] for one in few]
