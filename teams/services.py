"""Changes to teams, members, invitations, projects and keys. Each is audited in its own transaction.

`actor` is text: a person's e-mail, `key:PREFIX`, `runner:…` or `watchdog`. Refusals are `ApiError`s with a message for
the person who made the request.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.module_loading import import_string

from teams import auth, keys, mail, portability, rate_limits
from teams.errors import ApiError
from teams.models import (
    NEW_AGENTS_PER_HOUR,
    ApiKey,
    AuditEntry,
    Invitation,
    Membership,
    Project,
    Scope,
    Team,
    User,
    second_factors,
)
from teams.roles import Role, may_assign

# Working keys of a project: more than hosts in most fleets, and few enough to read.
MAX_KEYS: Final = 1_000
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
    """Record who did what.

    `action` is `noun.verb`, `target` the name of the object, `of` its row, to which the audit log links.
    """
    row = f"{of._meta.label_lower}:{of.pk}" if of is not None else ""
    return AuditEntry.objects.create(
        team=team, actor=actor, action=action, target=target[:300], of=row, data=data or {}
    )


@transaction.atomic
def create_team(*, owner: User, name: str) -> Team:
    """Create a team with its first owner."""
    team = Team.objects.create(name=name)
    Membership.objects.create(team=team, user=owner, role=Role.OWNER.value)
    audit(team=team, actor=owner.email, action="team.created", target=name, of=team)
    return team


@transaction.atomic
def require_second_factor(*, team: Team, required: bool, by: User) -> None:
    """Whether members need a second factor to open the team. A no-op if that is so already.

    Raises 409 `no_second_factor` if `by` has none: they would lock themselves out.
    """
    if required == team.require_second_factor:
        return
    if required and team.pk not in by.vouched_teams and not second_factors(by.pk).exists():
        raise ApiError(409, "no_second_factor", "Set up two-factor authentication for yourself first.")
    Team.objects.filter(pk=team.pk).update(require_second_factor=required)
    data = {"from": not required, "to": required}
    audit(team=team, actor=by.email, action="team.second_factor_required", target=team.name, of=team, data=data)


@transaction.atomic
def create_project(*, team: Team, name: str, actor: str) -> Project:
    """Create a project. Raises 409 `project_exists` if the team has one with that name."""
    try:
        with transaction.atomic():
            project = Project.objects.create(team=team, name=name)
    except IntegrityError:
        raise ApiError(409, "project_exists", f"{team} already has a project named {name}.") from None
    audit(team=team, actor=actor, action="project.created", target=name, of=project)
    return project


@transaction.atomic
def rename_team(*, team: Team, name: str, actor: str) -> None:
    """Rename a team. A no-op if it already has that name."""
    if name != team.name:
        data = {"name": {"from": team.name, "to": name}}
        team.name = name
        team.save(update_fields=["name"])
        audit(team=team, actor=actor, action="team.changed", target=name, of=team, data=data)


@transaction.atomic
def rename_project(*, project: Project, name: str, actor: str) -> None:
    """Rename a project. Raises 409 `project_exists` if its team has one with that name."""
    if name == project.name:
        return
    if Project.objects.filter(team=project.team_id, name=name).exists():
        raise ApiError(409, "project_exists", f"{project.team} already has a project named {name}.")
    data = {"name": {"from": project.name, "to": name}}
    project.name = name
    project.save(update_fields=["name"])
    audit(team=project.team, actor=actor, action="project.changed", target=name, of=project, data=data)


@transaction.atomic
def delete_team(*, team: Team, actor: str, now: datetime) -> None:
    """Delete a team. It is inaccessible at once; its rows are purged in the background.

    A team may hold millions of heartbeats, too many to delete in a request. See `agents/storage/purge.py`. Its owners
    get a receipt.
    """
    receipt = portability.receipt(team, actor=actor, now=now)
    audit(team=team, actor=actor, action="team.deleted", target=team.name, data={"receipt": receipt["number"]})
    transaction.on_commit(lambda: mail.send_receipt(receipt), robust=True)
    team.memberships.all().delete()
    team.invitations.all().delete()
    _shut_down(team, now)


@transaction.atomic
def delete_project(*, project: Project, actor: str, now: datetime) -> None:
    """Delete a project like `delete_team` does a team: move it into a new, deleted team, which is purged."""
    audit(team=project.team, actor=actor, action="project.deleted", target=project.name)
    project.team = Team.objects.create(name=project.team.name)
    project.save(update_fields=["team"])
    _shut_down(project.team, now)


def create_deleted_project(*, like: Project, now: datetime) -> Project:
    """A project in a deleted team, to hold rows of `like` that were deleted and wait to be purged."""
    team = Team.objects.create(name=like.team.name, ended_at=now)
    return Project.objects.create(team=team, name=like.name)


def _shut_down(team: Team, now: datetime) -> None:
    """Mark a team as deleted: revoke its keys, unpublish its status pages, run `settings.TEAM_END_SINKS`."""
    Team.objects.filter(pk=team.pk).update(ended_at=now)
    team.projects.update(status_page=Project.StatusPage.OFF, status_address=None)
    for key in ApiKey.objects.filter(project__team=team, revoked_at=None):
        ApiKey.objects.filter(pk=key.pk).update(revoked_at=now)
        auth.forget(key)
    for sink in settings.TEAM_END_SINKS:
        import_string(sink)(team.pk)


def _person(actor: str) -> User | None:
    return User.objects.filter(email=actor).first()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """What a key is limited to. `agent` is the one name it may report as, `expires_at` is in the future.

    `allowed_networks` are in their usual form, see `networks.py`. Empty, or None: no limit.
    """

    agent: str = ""
    allowed_networks: Sequence[str] = ()
    new_agents_per_hour: int = NEW_AGENTS_PER_HOUR
    expires_at: datetime | None = None


MAX_NEW_AGENTS: Final = 1_000_000
# What can be changed later. The scope and the agent say what a key is.
CHANGEABLE: Final = ("name", "allowed_networks", "new_agents_per_hour", "expires_at")


@transaction.atomic
def issue_key(
    *,
    project: Project,
    name: str,
    scope: str = "agent",
    actor: str,
    limits: KeyLimits | None = None,
    first: ApiKey | None = None,
) -> tuple[ApiKey, str]:
    """Create a key. The second value is its plain text, which is not stored: show it once.

    `first` is the first key of its line, whose names it owns too. Raises 422 for a limit that does not fit, 403
    `key_limit_reached` in a project with `MAX_KEYS`, 429 `rate_limited` for too many new ones in a day.
    """
    limits, now, raw = limits or KeyLimits(), timezone.now(), keys.generate()
    _require_agent_scope(scope, limits.agent)
    _require_room_for_key(project, now)
    key = ApiKey.objects.create(
        project=project,
        name=name,
        scope=scope,
        prefix=keys.prefix_of(raw),
        hash=keys.hash_of(raw),
        first=first,
        agent=limits.agent,
        allowed_networks=list(limits.allowed_networks),
        new_agents_per_hour=limits.new_agents_per_hour,
        expires_at=limits.expires_at,
        lifetime=_lifetime(limits.expires_at, now),
        created_by=_person(actor),
        created_at=now,
    )
    data = {"scope": scope, **_limits_in_words(limits)}
    audit(team=project.team, actor=actor, action="key.created", target=str(key), of=key, data=data)
    transaction.on_commit(lambda: mail.tell_of_key(key, actor), robust=True)
    return key, raw


def _require_agent_scope(scope: str, agent: str) -> None:
    if agent and scope != Scope.AGENT:
        why = "A key for one agent needs the scope agent: other scopes reach every agent."
        raise ApiError(422, "invalid", f"agent: {why}", fields={"agent": why})


def _require_room_for_key(project: Project, now: datetime) -> None:
    rate_limits.spend(rate_limits.KEYS, project.pk, now)
    works = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=now))
    if project.api_keys.filter(works).count() >= MAX_KEYS:
        message = f"This project has {MAX_KEYS:,} API keys. Revoke keys that are not needed."
        raise ApiError(403, "key_limit_reached", message)


def _lifetime(expires_at: datetime | None, now: datetime) -> timedelta | None:
    if expires_at is None:
        return None
    if expires_at <= now:
        why = "Must be in the future."
        raise ApiError(422, "invalid", f"expires_at: {why}", fields={"expires_at": why})
    return expires_at - now


def _limits_in_words(limits: KeyLimits) -> dict[str, str]:
    """The limits that differ from a key without any, for the audit log."""
    values = {name: getattr(limits, name) for name in KeyLimits.__slots__}
    return {name: _plain(value) for name, value in values.items() if value != getattr(KeyLimits(), name)}


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(value)
    return "" if value is None else str(value)


@transaction.atomic
def change_key(*, key: ApiKey, changes: Mapping[str, Any], actor: str, now: datetime) -> ApiKey:
    """Change any of `CHANGEABLE`; every process follows within 2 seconds. Raises 422 for an expiry in the past."""
    stored = ApiKey.objects.select_for_update(of=("self",)).select_related("project__team").get(pk=key.pk)
    before = {name: getattr(stored, name) for name in CHANGEABLE if name in changes}
    changed = {name: changes[name] for name, old in before.items() if changes[name] != old}
    if not changed:
        return stored
    if "expires_at" in changed:
        changed["lifetime"] = _lifetime(changed["expires_at"], now)
    for name, value in changed.items():
        setattr(stored, name, value)
    stored.save(update_fields=list(changed))
    auth.forget(stored)
    data = {name: {"from": _plain(old), "to": _plain(changed[name])} for name, old in before.items() if name in changed}
    action = "key.renamed" if set(data) == {"name"} else "key.changed"
    audit(team=stored.project.team, actor=actor, action=action, target=str(stored), of=stored, data=data)
    return stored


@transaction.atomic
def rotate_key(*, key: ApiKey, overlap: timedelta, actor: str, now: datetime | None = None) -> tuple[ApiKey, str]:
    """Create a successor of a key; the old key keeps working for `overlap`, which may be zero.

    The successor has the same limits, its expiry starts anew, and it owns the names that are bound to the old key.
    Raises 409 `key_ended` if the key was revoked or has expired.
    """
    now = now or timezone.now()
    old = ApiKey.objects.select_for_update().get(pk=key.pk)
    if old.revoked_at or (old.expires_at and old.expires_at <= now):
        raise ApiError(409, "key_ended", "This key no longer works. Create a new one instead.")
    old.expires_at = min(now + overlap, old.expires_at or now + overlap)
    old.save(update_fields=["expires_at"])
    auth.forget(old)
    limits = KeyLimits(
        agent=old.agent,
        allowed_networks=old.allowed_networks,
        new_agents_per_hour=old.new_agents_per_hour,
        expires_at=now + old.lifetime if old.lifetime else None,
    )
    successor, raw = issue_key(
        project=old.project, name=old.name, scope=old.scope, actor=actor, limits=limits, first=old.first or old
    )
    data = {"successor": successor.prefix, "until": old.expires_at.isoformat()}
    audit(team=old.project.team, actor=actor, action="key.rotated", target=str(old), of=old, data=data)
    return successor, raw


@transaction.atomic
def revoke_key(*, key: ApiKey, actor: str, now: datetime) -> None:
    """Revoke a key; every process rejects it within 2 seconds. A no-op if it was revoked before."""
    revoked = ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=now)
    auth.forget(key)
    if revoked:
        audit(team=key.project.team, actor=actor, action="key.revoked", target=str(key), of=key)


@transaction.atomic
def change_role(*, membership: Membership, role: str, by: User) -> Membership:
    """Change a member's role.

    Raises 403 `role_above_own` if the old or new role ranks above that of `by`, 409 `last_owner` for a team's only
    owner.
    """
    member = _locked(membership)
    _require_rank(member.team, by, role, member.role)
    if role != Role.OWNER:
        _require_another_owner(member)
    before, member.role = member.role, Role(role).value
    member.save(update_fields=["role"])
    data = {"from": before, "to": member.role}
    audit(team=member.team, actor=by.email, action="member.changed", target=member.user.email, of=member, data=data)
    return member


@transaction.atomic
def remove_member(*, membership: Membership, by: User) -> None:
    """Remove a person from a team. Everyone can remove themselves. Raises the errors of `change_role`."""
    member = _locked(membership)
    if member.user_id != by.pk:
        _require_rank(member.team, by, member.role)
    _require_another_owner(member)
    member.delete()
    data = {"role": member.role}
    audit(team=member.team, actor=by.email, action="member.removed", target=member.user.email, data=data)


def left_behind(membership: Membership) -> dict[str, Any]:
    """Who stays when this person leaves: `others`, and whether they are the `last_owner`, who cannot leave."""
    others = Membership.objects.filter(team=membership.team_id).exclude(pk=membership.pk)
    is_owner = membership.role == Role.OWNER.value
    return {
        "others": others.count(),
        "last_owner": is_owner and not others.filter(role=Role.OWNER.value).exists(),
    }


def _locked(membership: Membership) -> Membership:
    """Reload the membership with its team locked, so that two owners cannot remove each other at once."""
    Team.objects.select_for_update().get(pk=membership.team_id)
    return Membership.objects.select_related("team", "user").get(pk=membership.pk)


def _require_rank(team: Team, by: User, role: str, before: str | None = None) -> None:
    own = Membership.objects.filter(team=team, user=by).values_list("role", flat=True).first()
    if not by.is_superuser and not may_assign(own, role, before):
        raise ApiError(403, "role_above_own", "Your role doesn't allow this. Ask an owner of the team.")


def _require_another_owner(membership: Membership) -> None:
    owners = Membership.objects.filter(team=membership.team, role=Role.OWNER.value)
    if membership.role == Role.OWNER and not owners.exclude(pk=membership.pk).exists():
        raise ApiError(409, "last_owner", "A team needs at least one owner. Make someone else an owner first.")


def _token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@transaction.atomic
def invite(*, team: Team, email: str, role: str, invited_by: User, now: datetime) -> tuple[Invitation, str]:
    """Invite an address to a team. The second value is the token of the link, which is stored only as a hash.

    Replaces an open invitation of the same address. Raises 403 `role_above_own`, 409 `already_member`, 429
    `rate_limited` for too many in a day by this person, from this team or to this address.
    """
    _require_rank(team, invited_by, role)
    email = email.strip().lower()
    rate_limits.spend(rate_limits.INVITATIONS_TO_ADDRESS, email, now)
    rate_limits.spend(rate_limits.INVITATIONS_BY_PERSON, invited_by.pk, now)
    rate_limits.spend(rate_limits.INVITATIONS_BY_TEAM, team.pk, now)
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
    """The open invitation of a link. Raises 404 `no_invitation` if it is invalid, used or expired."""
    invitation = Invitation.objects.filter(token_hash=_token_hash(token)).select_related("team", "invited_by").first()
    if invitation is None:
        raise ApiError(404, "no_invitation", "This invitation does not exist. Ask for a new link.")
    if invitation.accepted_at:
        raise ApiError(404, "no_invitation", "This invitation was already accepted.")
    if invitation.expires_at <= now:
        raise ApiError(404, "no_invitation", "This invitation has expired. Ask for a new one.")
    return invitation


@transaction.atomic
def accept_invitation(*, token: str, user: User, now: datetime) -> Membership:
    """Join the team. An invitation can be accepted once; an existing member keeps their role.

    Raises the errors of `find_invitation`, and 403 `other_address` unless `user` has verified the invited address.
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
        team, email = invitation.team, user.email
        audit(team=team, actor=email, action="member.added", target=email, of=membership, data=data)
    return membership
