"""The writes: teams, members, invitations, projects and keys. Each is audited in its own transaction.

`actor` is text: a person's e-mail, `key:PREFIX`, `runner:…` or `watchdog`. Refusals are `ApiError`s whose message
is meant for the person who asked.
"""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any, Final

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from teams import auth, keys
from teams.errors import ApiError
from teams.models import ApiKey, AuditEntry, Invitation, Membership, Project, Team, User
from teams.roles import Role, may_assign

INVITATION_LIFETIME: Final = timedelta(days=7)


def audit(
    *,
    team: Team,
    actor: str,
    action: str,
    target: str,
    of: models.Model | None = None,
    data: dict[str, Any] | None = None,
) -> AuditEntry:
    """Note who did what.

    `action` is `noun.verb`, `target` what a person would call the thing, `of` its row, for who wants to go there.
    """
    row = f"{of._meta.label_lower}:{of.pk}" if of is not None else ""
    return AuditEntry.objects.create(
        team=team, actor=actor, action=action, target=target[:300], of=row, data=data or {}
    )


@transaction.atomic
def create_team(*, owner: User, name: str) -> Team:
    """Make a team with its first owner."""
    team = Team.objects.create(name=name)
    Membership.objects.create(team=team, user=owner, role=Role.OWNER.value)
    audit(team=team, actor=owner.email, action="team.created", target=name, of=team)
    return team


@transaction.atomic
def create_project(*, team: Team, name: str, actor: str) -> Project:
    """Make a project. Raises 409 `project_exists` when the team has one of that name."""
    try:
        with transaction.atomic():
            project = Project.objects.create(team=team, name=name)
    except IntegrityError:
        raise ApiError(409, "project_exists", f"{team} already has a project named {name}.") from None
    audit(team=team, actor=actor, action="project.created", target=name, of=project)
    return project


@transaction.atomic
def rename_team(*, team: Team, name: str, actor: str) -> None:
    """Call a team something else. The name it has already changes nothing."""
    if name != team.name:
        team.name = name
        team.save(update_fields=["name"])
        audit(team=team, actor=actor, action="team.changed", target=name, of=team)


@transaction.atomic
def rename_project(*, project: Project, name: str, actor: str) -> None:
    """Call a project something else. Raises 409 `project_exists` when its team has one of that name."""
    if name == project.name:
        return
    if Project.objects.filter(team=project.team_id, name=name).exists():
        raise ApiError(409, "project_exists", f"{project.team} already has a project named {name}.")
    project.name = name
    project.save(update_fields=["name"])
    data = {"fields": ["name"]}
    audit(team=project.team, actor=actor, action="project.changed", target=name, of=project, data=data)


@transaction.atomic
def end_team(*, team: Team, actor: str, now: datetime) -> None:
    """Delete a team. Nobody sees or reaches anything of it from now on; its rows are cleared away bit by bit.

    A team may hold millions of heartbeats, and no request lasts that long. See `agents/storage/purge.py`.
    """
    team.memberships.all().delete()
    team.invitations.all().delete()
    _silence(team, now)


@transaction.atomic
def end_project(*, project: Project, actor: str, now: datetime) -> None:
    """Delete a project, as `end_team` does: it moves to a team of its own that has ended."""
    audit(team=project.team, actor=actor, action="project.deleted", target=project.name)
    project.team = Team.objects.create(name=project.team.name)
    project.save(update_fields=["team"])
    _silence(project.team, now)


def ended_project(*, like: Project, now: datetime) -> Project:
    """Where what was deleted of a project waits to be cleared away: a project of a team that has ended."""
    team = Team.objects.create(name=like.team.name, ended_at=now)
    return Project.objects.create(team=team, name=like.name)


def _silence(team: Team, now: datetime) -> None:
    """No key of it works, nothing of it is public, and (`settings.TEAM_END_SINKS`) nobody is told of it."""
    Team.objects.filter(pk=team.pk).update(ended_at=now)
    team.projects.update(status_page=Project.StatusPage.OFF, status_address=None)
    for key in ApiKey.objects.filter(project__team=team, revoked_at=None):
        ApiKey.objects.filter(pk=key.pk).update(revoked_at=now)
        auth.forget(key)
    for sink in settings.TEAM_END_SINKS:
        import_string(sink)(team.pk)


def _person(actor: str) -> User | None:
    return User.objects.filter(email=actor).first()


@transaction.atomic
def issue_key(*, project: Project, name: str, scope: str = "agent", actor: str) -> tuple[ApiKey, str]:
    """Make a key. The second value is its plain text, which is kept nowhere: show it once."""
    raw = keys.generate()
    key = ApiKey.objects.create(
        project=project,
        name=name,
        scope=scope,
        prefix=keys.prefix_of(raw),
        hash=keys.hash_of(raw),
        created_by=_person(actor),
    )
    audit(team=project.team, actor=actor, action="key.created", target=str(key), of=key, data={"scope": scope})
    return key, raw


@transaction.atomic
def rotate_key(*, key: ApiKey, overlap: timedelta, actor: str, now: datetime | None = None) -> tuple[ApiKey, str]:
    """Make the successor of a key; the old one works for `overlap` longer, zero meaning not at all.

    Raises 409 `key_ended` when the key was revoked or has expired already.
    """
    now = now or timezone.now()
    old = ApiKey.objects.select_for_update().get(pk=key.pk)
    if old.revoked_at or (old.expires_at and old.expires_at <= now):
        raise ApiError(409, "key_ended", "This key does not work any more. Make a new one instead.")
    old.expires_at = min(now + overlap, old.expires_at or now + overlap)
    old.save(update_fields=["expires_at"])
    auth.forget(old)
    data = {"successor": "", "until": old.expires_at.isoformat()}
    successor, raw = issue_key(project=old.project, name=old.name, scope=old.scope, actor=actor)
    data["successor"] = successor.prefix
    audit(team=old.project.team, actor=actor, action="key.rotated", target=str(old), of=old, data=data)
    return successor, raw


@transaction.atomic
def revoke_key(*, key: ApiKey, actor: str, now: datetime) -> None:
    """End a key. Every process refuses it within two seconds. A second time changes nothing."""
    revoked = ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=now)
    auth.forget(key)
    if revoked:
        audit(team=key.project.team, actor=actor, action="key.revoked", target=str(key), of=key)


@transaction.atomic
def change_role(*, membership: Membership, role: str, by: User) -> Membership:
    """Give a member another role.

    Raises 403 `role_above_own` when either role is above that of `by`, 409 `last_owner` for a team's only owner.
    """
    held = _locked(membership)
    _require_rank(held.team, by, role, held.role)
    if role != Role.OWNER:
        _require_another_owner(held)
    before, held.role = held.role, Role(role).value
    held.save(update_fields=["role"])
    data = {"from": before, "to": held.role}
    audit(team=held.team, actor=by.email, action="member.changed", target=held.user.email, of=held, data=data)
    return held


@transaction.atomic
def remove_member(*, membership: Membership, by: User) -> None:
    """Take a person out of a team; everyone may take themselves out. Raises like `change_role`."""
    held = _locked(membership)
    if held.user_id != by.pk:
        _require_rank(held.team, by, held.role)
    _require_another_owner(held)
    held.delete()
    audit(team=held.team, actor=by.email, action="member.removed", target=held.user.email, data={"role": held.role})


def _locked(membership: Membership) -> Membership:
    """The membership as it is now, with its team locked: two owners must not remove each other at once."""
    Team.objects.select_for_update().get(pk=membership.team_id)
    return Membership.objects.select_related("team", "user").get(pk=membership.pk)


def _require_rank(team: Team, by: User, role: str, before: str | None = None) -> None:
    own = Membership.objects.filter(team=team, user=by).values_list("role", flat=True).first()
    if not by.is_superuser and not may_assign(own, role, before):
        raise ApiError(403, "role_above_own", "Your own role does not allow this. Ask an owner of the team.")


def _require_another_owner(membership: Membership) -> None:
    owners = Membership.objects.filter(team=membership.team, role=Role.OWNER.value)
    if membership.role == Role.OWNER and not owners.exclude(pk=membership.pk).exists():
        raise ApiError(409, "last_owner", "A team needs an owner. Make someone else an owner first.")


def _token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@transaction.atomic
def invite(*, team: Team, email: str, role: str, invited_by: User, now: datetime) -> tuple[Invitation, str]:
    """Offer a place in a team. The second value is the link's token, kept only as a hash.

    An earlier, still open invitation of the same address is replaced. Raises 403 `role_above_own`,
    409 `already_member`.
    """
    _require_rank(team, invited_by, role)
    email = email.strip().lower()
    if Membership.objects.filter(team=team, user__email=email).exists():
        raise ApiError(409, "already_member", f"{email} is already in {team}.")
    Invitation.objects.filter(team=team, email=email, accepted_at__isnull=True).delete()
    token = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        team=team,
        email=email,
        role=Role(role).value,
        token_hash=_token_hash(token),
        invited_by=invited_by,
        created_at=now,
        expires_at=now + INVITATION_LIFETIME,
    )
    data = {"role": role}
    audit(team=team, actor=invited_by.email, action="member.invited", target=email, of=invitation, data=data)
    return invitation, token


def find_invitation(*, token: str, now: datetime) -> Invitation:
    """The open invitation behind a link. Raises 404 `no_invitation` for a wrong, used or expired one."""
    found = Invitation.objects.filter(token_hash=_token_hash(token)).select_related("team", "invited_by").first()
    if found is None:
        raise ApiError(404, "no_invitation", "There is no such invitation. Ask for a new link.")
    if found.accepted_at:
        raise ApiError(404, "no_invitation", "This invitation was already accepted.")
    if found.expires_at <= now:
        raise ApiError(404, "no_invitation", "This invitation has expired. Ask for a new one.")
    return found


@transaction.atomic
def accept_invitation(*, token: str, user: User, now: datetime) -> Membership:
    """Take the offered place, once. Who is in the team already keeps the role they have.

    Raises 404 as `find_invitation`, 403 `other_address` unless the invited address is a verified one of `user`.
    """
    invitation = find_invitation(token=token, now=now)
    if not EmailAddress.objects.filter(user=user, email__iexact=invitation.email, verified=True).exists():
        raise ApiError(403, "other_address", f"This invitation is for {invitation.email}. Sign in with that address.")
    if not Invitation.objects.filter(pk=invitation.pk, accepted_at__isnull=True).update(accepted_at=now):
        raise ApiError(404, "no_invitation", "This invitation was already accepted.")
    membership, created = Membership.objects.get_or_create(
        team=invitation.team, user=user, defaults={"role": invitation.role}
    )
    if created:
        data = {"role": invitation.role, "invitation": True}
        team, who = invitation.team, user.email
        audit(team=team, actor=who, action="member.added", target=who, of=membership, data=data)
    return membership
