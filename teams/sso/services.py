"""Changes to single sign-on, and who enters a team through it. Each is audited in its own transaction.

`by` is the person who changes it. Refusals are `ApiError`s with a message for people.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.db import IntegrityError, transaction
from django.utils import timezone

from teams import plan_gate
from teams.errors import ApiError
from teams.models import Membership, Session, Team, User
from teams.roles import Role
from teams.services import audit
from teams.sessions import hash_of
from teams.sso import outgoing, saml_key
from teams.sso.models import Protocol, SignInDomain, SingleSignOn
from teams.sso.policy import Identity, domain_of, role_for

# A person sets these; the first ones decide who vouches for people, so they need a new test.
TRUST: Final = ("protocol", "issuer", "client_id", "client_secret", "saml")
SETTINGS: Final = ("name", *TRUST, "extra_scopes", "role_claim", "roles", "default_role", "is_active", "enforced")
# What the audit log must not show, and what is too long for it.
HIDDEN: Final = ("client_secret", "saml")
MAX_DOMAINS: Final = 20
PROOF_PATH: Final = "/.well-known/clevagent-sign-in.txt"


@transaction.atomic
def create(*, team: Team, values: Mapping[str, Any], by: User, now: datetime) -> SingleSignOn:
    """Set up single sign-on for a team. Raises 409 `sign_on_exists` if it has one."""
    if values.get("enforced"):
        raise _not_ready("Verify a domain and run a test sign-in first.")
    try:
        with transaction.atomic():
            connection = SingleSignOn.objects.create(team=team, created_at=now, **values)
            _ensure_key(connection)
    except IntegrityError:
        raise ApiError(409, "sign_on_exists", f"{team} already has single sign-on.") from None
    data = {"protocol": connection.get_protocol_display(), "issuer": issuer_of(connection)}
    audit(team=team, actor=by.email, action="sign_on.created", target=connection.name, of=connection, data=data)
    return connection


@transaction.atomic
def change(*, connection: SingleSignOn, values: Mapping[str, Any], by: User, current: str | None) -> SingleSignOn:
    """Change any of `SETTINGS`. `current` is the key of the session in which that happens.

    Raises 409 `sign_on_not_ready` if it cannot be enforced yet. Enforcing it signs everybody else out who has an
    address of its domains.
    """
    stored = SingleSignOn.objects.select_for_update(of=("self",)).select_related("team").get(pk=connection.pk)
    before = {name: getattr(stored, name) for name in SETTINGS if name in values}
    changed = {name: values[name] for name, old in before.items() if values[name] != old}
    if not changed:
        return stored
    for name, value in changed.items():
        setattr(stored, name, value)
    _require_fresh_test(stored, before, changed)
    stored.save()
    _ensure_key(stored)
    if changed.get("enforced"):
        _sign_out(stored, by, current)
    data = {name: _difference(name, before[name], value) for name, value in changed.items()}
    audit(team=stored.team, actor=by.email, action="sign_on.changed", target=stored.name, of=stored, data=data)
    return stored


def _ensure_key(connection: SingleSignOn) -> None:
    """Once: its certificate is copied to the provider."""
    if connection.protocol == Protocol.SAML and not connection.saml_key:
        connection.saml_key = saml_key.make(connection.slug, timezone.now())
        connection.save(update_fields=["saml_key"])


def _require_fresh_test(stored: SingleSignOn, before: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
    """A test counts for the settings that it was made with, and only what was tested can be enforced."""
    if set(changed) & set(TRUST):
        stored.tested_at = None
        if before.get("issuer") != stored.issuer or {"saml", "protocol"} & set(changed):
            # Another provider's names for people mean nothing: they are linked again by their address.
            SocialAccount.objects.filter(provider=stored.slug).delete()
    if not stored.enforced:
        return
    if not stored.is_active:
        raise _not_ready("Switch it on before you require it.")
    if not stored.domains.filter(verified_at__isnull=False).exists():
        raise _not_ready("Verify a domain before you require single sign-on.")
    if stored.tested_at is None:
        why = "Sign in as a test before you require single sign-on."
        raise _not_ready(
            "Switch off the requirement, save, and test the new settings." if not changed.get("enforced") else why
        )


def _not_ready(message: str) -> ApiError:
    return ApiError(409, "sign_on_not_ready", message)


def _difference(name: str, before: Any, after: Any) -> dict[str, Any] | str:
    return "replaced" if name in HIDDEN else {"from": before, "to": after}


def _sign_out(connection: SingleSignOn, by: User, current: str | None) -> None:
    """End the sessions that began without the provider. The owner at work keeps the one they work in."""
    domains = verified_domains(connection)
    people = [user for user, email in User.objects.values_list("pk", "email") if domain_of(email) in domains]
    sessions = Session.objects.filter(user__in=people, user__is_superuser=False)
    sessions.exclude(user=by, pk=hash_of(current)).delete()


def issuer_of(connection: SingleSignOn) -> str:
    """The provider's own name for itself."""
    return connection.issuer or str(connection.saml.get("entity_id", ""))


def verified_domains(connection: SingleSignOn) -> set[str]:
    """The domains whose addresses the connection can vouch for."""
    return set(connection.domains.filter(verified_at__isnull=False).values_list("domain", flat=True))


@transaction.atomic
def delete(*, connection: SingleSignOn, actor: str) -> None:
    """Remove single sign-on. People keep their accounts and roles, and sign in with a password again."""
    audit(team=connection.team, actor=actor, action="sign_on.deleted", target=connection.name)
    _erase(connection)


def forget_team(team_id: int) -> None:
    """For `settings.TEAM_END_SINKS`: a deleted team must vouch for nobody, and frees its domains at once."""
    for connection in SingleSignOn.objects.filter(team=team_id):
        _erase(connection)


def _erase(connection: SingleSignOn) -> None:
    SocialAccount.objects.filter(provider=connection.slug).delete()
    connection.delete()


# Domains


@transaction.atomic
def add_domain(*, connection: SingleSignOn, domain: str, by: User, now: datetime) -> SignInDomain:
    """Claim a domain. It vouches for nobody until it is verified.

    Raises 409 `domain_exists` for a second claim, 409 `too_many_domains`.
    """
    if connection.domains.count() >= MAX_DOMAINS:
        raise ApiError(409, "too_many_domains", f"At most {MAX_DOMAINS} domains.")
    row, created = SignInDomain.objects.get_or_create(
        connection=connection, domain=domain, defaults={"created_at": now}
    )
    if not created:
        raise ApiError(409, "domain_exists", f"{domain} is on the list already.")
    audit(team=connection.team, actor=by.email, action="sign_on.domain_added", target=domain, of=connection)
    return row


def prove_domain(*, row: SignInDomain, by: User, now: datetime) -> None:
    """Verify a domain by the file that only those who run its website can put there.

    Raises 409 `domain_not_proven`, saying what was found instead.
    """
    url = proof_url(row)
    reply = outgoing.fetch("GET", url)
    if not reply.is_success:
        raise ApiError(409, "domain_not_proven", f"{url} answered {reply.status}.")
    first = reply.body[:200].decode(errors="replace").strip().partition("\n")[0].strip()
    if not hmac.compare_digest(first.encode(), proof_text(row).encode()):
        raise ApiError(409, "domain_not_proven", f"{url} has a different first line. It must be {proof_text(row)}")
    _verify(row, how="file", by=by, now=now)


def approve_domain(*, row: SignInDomain, by: User, now: datetime) -> None:
    """Verify a domain on the operator's word. Raises 403 `operator_only`."""
    if not by.is_superuser:
        raise ApiError(403, "operator_only", "Only the operator of this installation can approve a domain.")
    _verify(row, how="operator", by=by, now=now)


@transaction.atomic
def _verify(row: SignInDomain, *, how: str, by: User, now: datetime) -> None:
    try:
        with transaction.atomic():
            SignInDomain.objects.filter(pk=row.pk).update(verified_at=now, verified_by=by.email)
    except IntegrityError:
        raise ApiError(409, "domain_taken", f"{row.domain} belongs to another team’s single sign-on.") from None
    team, data = row.connection.team, {"how": how}
    audit(team=team, actor=by.email, action="sign_on.domain_proven", target=row.domain, of=row.connection, data=data)


@transaction.atomic
def remove_domain(*, row: SignInDomain, by: User) -> None:
    """Remove a domain. Raises 409 `last_domain` for the only verified one while single sign-on is required."""
    connection = SingleSignOn.objects.select_for_update().get(pk=row.connection_id)
    if connection.enforced and verified_domains(connection) == {row.domain}:
        raise ApiError(409, "last_domain", "Single sign-on is required for this domain. Switch that off first.")
    audit(team=connection.team, actor=by.email, action="sign_on.domain_removed", target=row.domain, of=connection)
    row.delete()


def proof_url(row: SignInDomain) -> str:
    return f"https://{row.domain}{PROOF_PATH}"


def proof_text(row: SignInDomain) -> str:
    return f"clevagent-sign-in={row.token}"


# Sign-in


def require_acceptable(connection: SingleSignOn, identity: Identity) -> Role:
    """The role that an identity gets. Raises 403 for an identity that this connection cannot vouch for."""
    if not identity.email or "@" not in identity.email:
        raise _refused("no_address", "Your provider sent no e-mail address.")
    if not identity.verified:
        raise _refused("unverified_address", f"Your provider has not verified {identity.email}.")
    if identity.domain not in verified_domains(connection):
        raise _refused("foreign_address", f"{connection.name} cannot sign in {identity.domain} addresses.")
    role = role_for(identity.values, connection.roles, connection.default_role)
    if role is None:
        raise _refused("no_role", "Your provider gives you no role in this team. Ask one of its owners.")
    return role


def _refused(code: str, message: str) -> ApiError:
    return ApiError(403, code, message)


@transaction.atomic
def admit(*, connection: SingleSignOn, identity: Identity, now: datetime) -> User:
    """The person behind an identity, as a member of the team with the role that the provider's values give.

    Creates the account and the membership at the first sign-in. Raises 403 `sign_on_off`, `operator_account`,
    `inactive_account`, `linked_elsewhere`, and the errors of `require_acceptable`.
    """
    team = Team.objects.select_for_update().get(pk=connection.team_id)
    if not SingleSignOn.objects.filter(pk=connection.pk, is_active=True).exists() or team.ended_at:
        raise _refused("sign_on_off", f"{connection.name} is switched off.")
    role = require_acceptable(connection, identity)
    user = _person(connection, team, identity)
    if user.is_superuser or user.is_staff:
        why = "Operators sign in with their password: no team’s provider decides over the installation."
        raise _refused("operator_account", why)
    if not user.is_active:
        raise _refused("inactive_account", "This account is disabled. Ask the operator of this installation.")
    SocialAccount.objects.get_or_create(user=user, provider=connection.slug, uid=identity.uid)
    _join(connection, team, user, role, now)
    return user


def _person(connection: SingleSignOn, team: Team, identity: Identity) -> User:
    """The linked account, else the one with the address, else a new one."""
    linked = SocialAccount.objects.filter(provider=connection.slug, uid=identity.uid).select_related("user").first()
    if linked is not None:
        return _still_of_domain(connection, linked.user)
    address = EmailAddress.objects.filter(email__iexact=identity.email, verified=True).select_related("user").first()
    user = address.user if address else User.objects.filter(email__iexact=identity.email).first()
    if user is None:
        return _new_person(identity)
    _require_unlinked(connection, team, user)
    if address is None and not user.is_superuser:
        _take_over(user, identity.email)
    found: User = user
    return found


def _still_of_domain(connection: SingleSignOn, user: User) -> User:
    """A provider vouches for addresses of its domains only, and so for nobody who no longer has one."""
    owned = {domain_of(email) for email in [user.email, *_verified_addresses(user)]}
    if owned & verified_domains(connection):
        return user
    raise _refused("foreign_address", f"Your account has no address that {connection.name} can sign in.")


def _verified_addresses(user: User) -> list[str]:
    return list(EmailAddress.objects.filter(user=user, verified=True).values_list("email", flat=True))


def _require_unlinked(connection: SingleSignOn, team: Team, user: User) -> None:
    """An address that the provider gave to somebody else does not open the account of its former holder."""
    others = SocialAccount.objects.filter(provider=connection.slug, user=user)
    if others.exists() and Membership.objects.filter(team=team, user=user).exists():
        why = f"{user.email} is linked to somebody else at your provider. Ask an owner to remove that member first."
        raise _refused("linked_elsewhere", why)
    others.delete()


def _new_person(identity: Identity) -> User:
    user = User.objects.create_user(identity.email, None, name=identity.name[:100])
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def _take_over(user: User, email: str) -> None:
    """The address was never verified here, so whoever signed up with it may be somebody else: lock them out."""
    user.set_unusable_password()
    user.save(update_fields=["password"])
    Authenticator.objects.filter(user=user).delete()
    Session.objects.filter(user=user).delete()
    EmailAddress.objects.filter(user=user).delete()
    EmailAddress.objects.create(user=user, email=email.lower(), verified=True, primary=True)


def _join(connection: SingleSignOn, team: Team, user: User, role: Role, now: datetime) -> None:
    """Add the member, or give them the role that the provider's values give now."""
    member = Membership.objects.filter(team=team, user=user).first()
    if member is None:
        plan_gate.require_room(team_id=team.pk, what="members")
        member = Membership.objects.create(team=team, user=user, role=role.value, created_at=now)
        data = {"role": role.value, "single_sign_on": connection.name}
        audit(team=team, actor=user.email, action="member.added", target=user.email, of=member, data=data)
    elif connection.roles and member.role != role.value and not _is_last_owner(member):
        before, member.role = member.role, role.value
        member.save(update_fields=["role"])
        data = {"from": before, "to": role.value, "single_sign_on": connection.name}
        audit(team=team, actor=user.email, action="member.changed", target=user.email, of=member, data=data)


def _is_last_owner(member: Membership) -> bool:
    owners = Membership.objects.filter(team=member.team_id, role=Role.OWNER.value)
    return member.role == Role.OWNER.value and not owners.exclude(pk=member.pk).exists()


@transaction.atomic
def note_test(*, connection: SingleSignOn, identity: Identity, by: User, now: datetime) -> Role:
    """Record that an owner could sign in with these settings. Returns the role that they would get.

    Raises 403 `other_person` unless the provider asserted an address of the owner who tests.
    """
    role = require_acceptable(connection, identity)
    if identity.email.lower() not in {email.lower() for email in [by.email, *_verified_addresses(by)]}:
        why = f"Your provider signed in {identity.email}, but you test as {by.email}. Sign in there as yourself."
        raise _refused("other_person", why)
    SingleSignOn.objects.filter(pk=connection.pk).update(tested_at=now)
    data = {"role": role.value}
    audit(
        team=connection.team, actor=by.email, action="sign_on.tested", target=connection.name, of=connection, data=data
    )
    return role


def note_refusal(connection: SingleSignOn, identity: Identity, error: ApiError) -> None:
    """In the audit log, so that owners see why somebody could not enter. Only after the provider's signature held."""
    data = {"reason": error.code}
    who = identity.email or identity.uid
    audit(team=connection.team, actor=who[:255], action="sign_on.refused", target=who, of=connection, data=data)


@transaction.atomic
def note_break_glass(connection: SingleSignOn, user: User) -> None:
    audit(team=connection.team, actor="operator", action="sign_on.break_glass", target=user.email, of=connection)
