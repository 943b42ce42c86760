from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from teams import keys, services
from teams.errors import ApiError
from teams.models import ApiKey, AuditEntry, Invitation, Membership, Project, Team, User
from teams.roles import Role

NOW = timezone.now()


def membership(team: Team, user: User) -> Membership:
    return Membership.objects.get(team=team, user=user)


def actions(team: Team) -> list[str]:
    return list(AuditEntry.objects.filter(team=team).order_by("id").values_list("action", flat=True))


def test_new_team_has_owner_and_audit_entry(owner: User, team: Team) -> None:
    assert membership(team, owner).role == Role.OWNER
    assert actions(team) == ["team.created"]


def test_project_name_is_unique_per_team(team: Team, project: Project) -> None:
    with pytest.raises(ApiError) as refused:
        services.create_project(team=team, name=project.name, actor="test")
    assert refused.value.http_status == 409
    assert team.projects.count() == 1


def test_only_prefix_and_hash_are_stored(project: Project, owner: User) -> None:
    key, raw = services.issue_key(project=project, name="worker", actor=owner.email)
    row = ApiKey.objects.filter(pk=key.pk).values().get()
    assert keys.looks_like_key(raw)
    assert row["prefix"] == raw[:11]
    assert row["hash"] == keys.hash_of(raw)
    assert row["created_by_id"] == owner.pk
    assert all(raw[11:] not in str(value) for value in row.values())
    assert raw[11:] not in str(list(AuditEntry.objects.values()))


def test_rotation_keeps_name_and_scope(project: Project) -> None:
    key, raw = services.issue_key(project=project, name="worker", scope="read", actor="test")
    successor, fresh = services.rotate_key(key=key, overlap=timedelta(hours=1), actor="test", now=NOW)
    key.refresh_from_db()
    assert key.expires_at == NOW + timedelta(hours=1)
    assert (successor.name, successor.scope, successor.expires_at) == ("worker", "read", None)
    assert fresh != raw


def test_second_rotation_does_not_extend_overlap(project: Project) -> None:
    key, _ = services.issue_key(project=project, name="worker", actor="test")
    services.rotate_key(key=key, overlap=timedelta(hours=1), actor="test", now=NOW)
    services.rotate_key(key=key, overlap=timedelta(days=7), actor="test", now=NOW)
    key.refresh_from_db()
    assert key.expires_at == NOW + timedelta(hours=1)


def test_revoked_key_cannot_be_rotated(project: Project) -> None:
    key, _ = services.issue_key(project=project, name="worker", actor="test")
    services.revoke_key(key=key, actor="test", now=NOW)
    with pytest.raises(ApiError) as refused:
        services.rotate_key(key=key, overlap=timedelta(0), actor="test", now=NOW)
    assert refused.value.code == "key_ended"
    assert ApiKey.objects.count() == 1


def test_revoking_twice_is_a_no_op(project: Project) -> None:
    key, _ = services.issue_key(project=project, name="worker", actor="test")
    services.revoke_key(key=key, actor="test", now=NOW)
    services.revoke_key(key=key, actor="test", now=NOW + timedelta(hours=1))
    key.refresh_from_db()
    assert key.revoked_at == NOW
    assert actions(project.team).count("key.revoked") == 1


def test_person_joins_a_team_once(team: Team, member: User) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.create(team=team, user=member, role=Role.VIEWER)
    assert membership(team, member).role == Role.MEMBER


@pytest.fixture
def admin(team: Team) -> User:
    user = User.objects.create_user("admin@example.com")
    Membership.objects.create(team=team, user=user, role=Role.ADMIN)
    return user


@pytest.mark.parametrize("role", [Role.ADMIN, Role.MEMBER, Role.VIEWER])
def test_admin_assigns_roles_up_to_admin(team: Team, admin: User, member: User, role: Role) -> None:
    assert services.change_role(membership=membership(team, member), role=role, by=admin).role == role


def test_admin_cannot_make_an_owner(team: Team, admin: User, member: User) -> None:
    with pytest.raises(ApiError) as refused:
        services.change_role(membership=membership(team, member), role=Role.OWNER, by=admin)
    assert refused.value.code == "role_above_own"
    assert membership(team, member).role == Role.MEMBER


def test_admin_cannot_change_owner(team: Team, admin: User, owner: User) -> None:
    with pytest.raises(ApiError):
        services.change_role(membership=membership(team, owner), role=Role.VIEWER, by=admin)
    with pytest.raises(ApiError):
        services.remove_member(membership=membership(team, owner), by=admin)
    assert membership(team, owner).role == Role.OWNER


@pytest.mark.parametrize("who", ["member", "viewer", "stranger"])
def test_changing_roles_requires_manage(team: Team, owner: User, who: str, request: pytest.FixtureRequest) -> None:
    other = User.objects.create_user("other@example.com")
    held = Membership.objects.create(team=team, user=other, role=Role.VIEWER)
    with pytest.raises(ApiError) as refused:
        services.change_role(membership=held, role=Role.VIEWER, by=request.getfixturevalue(who))
    assert refused.value.http_status == 403


def test_last_owner_cannot_be_removed(team: Team, owner: User) -> None:
    with pytest.raises(ApiError) as refused:
        services.remove_member(membership=membership(team, owner), by=owner)
    assert refused.value.code == "last_owner"
    with pytest.raises(ApiError):
        services.change_role(membership=membership(team, owner), role=Role.ADMIN, by=owner)
    assert membership(team, owner).role == Role.OWNER


def test_owner_can_leave_if_another_remains(team: Team, owner: User, member: User) -> None:
    services.change_role(membership=membership(team, member), role=Role.OWNER, by=owner)
    services.remove_member(membership=membership(team, owner), by=owner)
    assert list(team.memberships.values_list("user__email", flat=True)) == [member.email]


def test_everyone_can_leave(team: Team, viewer: User) -> None:
    services.remove_member(membership=membership(team, viewer), by=viewer)
    assert not team.memberships.filter(user=viewer).exists()


def invited(team: Team, owner: User, email: str = "stranger@example.com", role: str = "member") -> str:
    return services.invite(team=team, email=email, role=role, invited_by=owner, now=NOW)[1]


def test_invitation_is_accepted_once(team: Team, owner: User, stranger: User) -> None:
    token = invited(team, owner, role="viewer")
    assert services.accept_invitation(token=token, user=stranger, now=NOW).role == Role.VIEWER
    with pytest.raises(ApiError, match="already accepted"):
        services.accept_invitation(token=token, user=stranger, now=NOW)


def test_invitation_is_for_its_address_only(team: Team, owner: User, stranger: User) -> None:
    token = invited(team, owner, email="someone@example.com")
    with pytest.raises(ApiError) as refused:
        services.accept_invitation(token=token, user=stranger, now=NOW)
    assert refused.value.code == "other_address"
    assert not team.memberships.filter(user=stranger).exists()


def test_unverified_address_cannot_accept(team: Team, owner: User, stranger: User) -> None:
    token = invited(team, owner)
    stranger.emailaddress_set.update(verified=False)
    with pytest.raises(ApiError):
        services.accept_invitation(token=token, user=stranger, now=NOW)
    assert Invitation.objects.get().accepted_at is None


def test_invitation_expires_after_seven_days(team: Team, owner: User, stranger: User) -> None:
    token = invited(team, owner)
    with pytest.raises(ApiError, match="expired"):
        services.accept_invitation(token=token, user=stranger, now=NOW + timedelta(days=7))
    services.accept_invitation(token=token, user=stranger, now=NOW + timedelta(days=7, seconds=-1))


def test_new_invitation_replaces_open_one(team: Team, owner: User, stranger: User) -> None:
    first = invited(team, owner)
    invited(team, owner)
    with pytest.raises(ApiError, match="does not exist"):
        services.find_invitation(token=first, now=NOW)
    assert Invitation.objects.count() == 1


def test_invited_member_keeps_role(team: Team, owner: User, stranger: User) -> None:
    token = invited(team, owner, role="viewer")
    Membership.objects.create(team=team, user=stranger, role=Role.ADMIN)
    assert services.accept_invitation(token=token, user=stranger, now=NOW).role == Role.ADMIN


def test_nobody_invites_above_own_role(team: Team, admin: User) -> None:
    with pytest.raises(ApiError) as refused:
        services.invite(team=team, email="x@example.com", role=Role.OWNER, invited_by=admin, now=NOW)
    assert refused.value.http_status == 403
    assert not Invitation.objects.exists()


def test_invitation_token_is_stored_as_hash(team: Team, owner: User) -> None:
    token = invited(team, owner)
    assert token not in str(list(Invitation.objects.values()))
