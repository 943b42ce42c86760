"""A sign-in through a provider, from the button to the team."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from teams.access import roles_of
from teams.models import AuditEntry, Membership, Team, User
from teams.roles import Role
from teams.sso import services
from teams.sso.models import SingleSignOn
from tests.identity_provider import OidcProvider
from tests.sign_on import begin, claims_of, go_back, recently, sign_in, signed_in_as

pytestmark = pytest.mark.django_db
ADA = "ada@acme.example"


def role_of(team: Team, email: str = ADA) -> str:
    return Membership.objects.get(team=team, user__email=email).role


def test_first_sign_in_joins_with_mapped_role(
    client: Client, connection: SingleSignOn, provider: OidcProvider, team: Team
) -> None:
    provider.person = claims_of(ADA, groups=["engineering", "all"])
    assert sign_in(client, connection, provider).status_code == 302
    assert signed_in_as(client) == ADA
    assert role_of(team) == Role.ADMIN
    assert not User.objects.get(email=ADA).has_usable_password()
    entry = AuditEntry.objects.get(team=team, action="member.added")
    assert entry.data == {"role": "admin", "single_sign_on": "Acme"}
    assert client.get("/admin/").status_code == 200


def test_groups_may_come_from_userinfo(
    client: Client, connection: SingleSignOn, provider: OidcProvider, team: Team
) -> None:
    provider.userinfo = {"sub": provider.person["sub"], "groups": ["engineering"]}
    sign_in(client, connection, provider)
    assert role_of(team) == Role.ADMIN


def test_later_sign_in_changes_the_role(
    client: Client, connection: SingleSignOn, provider: OidcProvider, team: Team
) -> None:
    provider.person = claims_of(ADA, groups=["engineering"])
    sign_in(client, connection, provider)
    provider.person = claims_of(ADA, groups=[])
    sign_in(Client(), connection, provider)
    assert role_of(team) == Role.VIEWER
    entry = AuditEntry.objects.get(team=team, action="member.changed")
    assert entry.data == {"from": "admin", "to": "viewer", "single_sign_on": "Acme"}


def test_last_owner_stays_owner(client: Client, connection: SingleSignOn, provider: OidcProvider, team: Team) -> None:
    provider.person = claims_of(ADA, groups=["board"])
    sign_in(client, connection, provider)
    Membership.objects.filter(team=team).exclude(user__email=ADA).delete()
    provider.person = claims_of(ADA)
    sign_in(Client(), connection, provider)
    assert role_of(team) == Role.OWNER


def test_without_mapping_roles_are_set_here(
    client: Client, connection: SingleSignOn, provider: OidcProvider, team: Team
) -> None:
    SingleSignOn.objects.update(roles=[], role_claim="")
    sign_in(client, connection, provider)
    assert role_of(team) == Role.VIEWER
    Membership.objects.filter(user__email=ADA).update(role="admin")
    sign_in(Client(), connection, provider)
    assert role_of(team) == Role.ADMIN


def test_next_leads_to_the_page(client: Client, connection: SingleSignOn, provider: OidcProvider) -> None:
    answer = sign_in(client, connection, provider, "?next=/admin/agents/agent/")
    assert answer.headers["Location"] == "/admin/agents/agent/"


def test_find_leads_to_the_provider(client: Client, connection: SingleSignOn) -> None:
    page = client.post("/accounts/sso/", {"email": "Somebody@ACME.example"}).content.decode()
    assert f"/accounts/sso/{connection.slug}/start/" in page
    assert "Continue with Acme" in page
    page = client.post("/accounts/sso/", {"email": "somebody@other.example"}).content.decode()
    assert "No team has set up single sign-on for other.example." in page


def test_cancelled_at_the_provider(client: Client, connection: SingleSignOn) -> None:
    from urllib.parse import parse_qs, urlsplit

    state = parse_qs(urlsplit(begin(client, connection)).query)["state"][0]
    page = go_back(client, f"/accounts/sso/{connection.slug}/callback/?error=access_denied&state={state}")
    assert page.status_code == 403
    assert "refused the sign-in" in page.content.decode()
    assert signed_in_as(client) == ""


def test_switched_off_leads_nowhere(client: Client, connection: SingleSignOn) -> None:
    SingleSignOn.objects.update(is_active=False)
    assert client.get(f"/accounts/sso/{connection.slug}/start/").status_code == 404
    assert "No team" in client.post("/accounts/sso/", {"email": ADA}).content.decode()


def test_unreachable_provider_is_explained(client: Client, connection: SingleSignOn) -> None:
    SingleSignOn.objects.update(issuer="http://127.0.0.1:9")
    page = client.get(f"/accounts/sso/{connection.slug}/start/")
    assert page.status_code == 502
    assert "127.0.0.1 refused the connection." in page.content.decode()


def test_asserted_second_factor_opens_strict_team(
    client: Client, connection: SingleSignOn, provider: OidcProvider, team: Team
) -> None:
    Team.objects.filter(pk=team.pk).update(require_second_factor=True)
    sign_in(client, connection, provider)
    assert client.get("/admin/teams/project/").status_code == 302
    provider.person = claims_of(ADA, amr=["pwd", "mfa"])
    strong = Client()
    sign_in(strong, connection, provider)
    assert strong.get("/admin/teams/project/").status_code == 200


def test_provider_vouches_for_its_own_team_only(
    client: Client, connection: SingleSignOn, provider: OidcProvider, stranger: User, rf: Any
) -> None:
    provider.person = claims_of(ADA, amr=["mfa"])
    sign_in(client, connection, provider)
    ada = User.objects.get(email=ADA)
    other = stranger.teams.get()
    Membership.objects.create(team=other, user=ada, role="viewer")
    Team.objects.filter(pk=other.pk).update(require_second_factor=True)
    request = rf.get("/")
    request.user = ada
    ada.vouched_teams = (connection.team_id,)
    assert set(roles_of(request)) == {connection.team_id}
    assert other.name not in client.get("/admin/teams/team/").content.decode().partition("<main")[2]


def test_own_second_factor_is_still_asked_for(client: Client, connection: SingleSignOn, provider: OidcProvider) -> None:
    from allauth.mfa.totp.internal.auth import TOTP

    sign_in(client, connection, provider)
    TOTP.activate(User.objects.get(email=ADA), "ABCDEFGHIJKLMNOP")
    provider.person = claims_of(ADA, amr=["mfa"])
    browser = Client()
    answer = sign_in(browser, connection, provider)
    assert answer.headers["Location"] == "/accounts/2fa/authenticate/"
    assert signed_in_as(browser) == ""


def test_owner_tests_without_signing_out(
    client_of: Any, connection: SingleSignOn, provider: OidcProvider, owner: User
) -> None:
    row = services.add_domain(connection=connection, domain="example.com", by=owner, now=timezone.now())
    type(row).objects.filter(pk=row.pk).update(verified_at=timezone.now())
    provider.person = claims_of(owner.email, groups=["board"])
    browser: Client = client_of(owner)
    answer = sign_in(browser, connection, provider, "?test=1")
    assert answer.headers["Location"] == f"/admin/sso/singlesignon/{connection.pk}/change/"
    assert signed_in_as(browser) == owner.email
    connection.refresh_from_db()
    assert connection.tested_at is not None
    assert "with the role Owner" in recently(browser, owner).get(answer.headers["Location"]).content.decode()


def test_test_as_somebody_else_does_not_count(
    client_of: Any, connection: SingleSignOn, provider: OidcProvider, owner: User
) -> None:
    page = sign_in(client_of(owner), connection, provider, "?test=1")
    assert "you test as owner@example.com" in page.content.decode()
    connection.refresh_from_db()
    assert connection.tested_at is None


def test_only_owners_test(client_of: Any, connection: SingleSignOn, member: User) -> None:
    page = client_of(member).get(f"/accounts/sso/{connection.slug}/start/?test=1")
    assert page.status_code == 403
