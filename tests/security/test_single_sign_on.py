"""Nobody enters through a provider who should not: lies, replays, foreign addresses, and ways around it."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from teams import portability, sign_in_links
from teams import services as team_services
from teams.errors import ApiError
from teams.models import AuditEntry, Membership, Session, Team, User
from teams.sso import services
from teams.sso.models import SignInDomain, SingleSignOn
from tests.identity_provider import OidcProvider
from tests.sign_on import begin, claims_of, connection, enforced, go_back, provider, recently, sign_in, signed_in_as

__all__ = ["connection", "enforced", "provider"]
pytestmark = pytest.mark.django_db
ADA, PASSWORD = "ada@acme.example", "correct horse battery"


@pytest.fixture
def ada(team: Team) -> User:
    """A member with a password and an address of the domain."""
    user = User.objects.create_user(ADA, PASSWORD)
    EmailAddress.objects.create(user=user, email=ADA, verified=True, primary=True)
    Membership.objects.create(team=team, user=user, role="member")
    return user


def refused(browser: Client, connection: SingleSignOn, provider: OidcProvider) -> str:
    """The reason for which a sign-in was refused."""
    answer = sign_in(browser, connection, provider)
    assert answer.status_code in (403, 502), answer.headers
    assert signed_in_as(browser) == ""
    return answer.content.decode()


# What a provider may not assert


def test_foreign_domain_is_refused(
    client: Client, connection: SingleSignOn, provider: OidcProvider, stranger: User
) -> None:
    provider.person = claims_of(stranger.email)
    assert "Acme cannot sign in example.com addresses." in refused(client, connection, provider)
    assert not SocialAccount.objects.exists()
    entry = AuditEntry.objects.get(action="sign_on.refused")
    assert (entry.team, entry.data) == (connection.team, {"reason": "foreign_address"})


def test_domain_counts_only_once_verified(client: Client, connection: SingleSignOn, provider: OidcProvider) -> None:
    SignInDomain.objects.update(verified_at=None)
    assert "cannot sign in acme.example" in refused(client, connection, provider)


@pytest.mark.parametrize("said", [False, None, "false", 0, "yes", [True]])
def test_unverified_address_is_refused(
    client: Client, connection: SingleSignOn, provider: OidcProvider, ada: User, said: Any
) -> None:
    provider.person = {**claims_of(ADA), "email_verified": said}
    assert f"has not verified {ADA}" in refused(client, connection, provider)


def test_operator_is_never_signed_in(client: Client, connection: SingleSignOn, provider: OidcProvider) -> None:
    boss = User.objects.create_superuser(ADA, PASSWORD)
    EmailAddress.objects.create(user=boss, email=ADA, verified=True, primary=True)
    assert "Operators sign in with their password" in refused(client, connection, provider)
    assert not Membership.objects.filter(user=boss).exists()


def test_squatted_account_is_cleared(client: Client, connection: SingleSignOn, provider: OidcProvider) -> None:
    """Somebody signed up with Ada's address and could never verify it; their password must not open her account."""
    squatted = User.objects.create_user(ADA, "known to the attacker")
    EmailAddress.objects.create(user=squatted, email=ADA, verified=False, primary=True)
    sign_in(client, connection, provider)
    assert signed_in_as(client) == ADA
    squatted.refresh_from_db()
    assert not squatted.has_usable_password()
    assert EmailAddress.objects.get(user=squatted).verified


def test_reassigned_address_opens_no_old_account(
    client: Client, connection: SingleSignOn, provider: OidcProvider, team: Team
) -> None:
    sign_in(client, connection, provider)
    provider.person = claims_of(ADA, sub="somebody new")
    newcomer = Client()
    assert "is linked to somebody else" in refused(newcomer, connection, provider)
    Membership.objects.filter(user__email=ADA).delete()
    sign_in(newcomer, connection, provider)
    assert signed_in_as(newcomer) == ADA
    assert SocialAccount.objects.get(user__email=ADA).uid == "somebody new"


def test_link_ends_with_the_address(client: Client, connection: SingleSignOn, provider: OidcProvider) -> None:
    sign_in(client, connection, provider)
    User.objects.filter(email=ADA).update(email="ada@home.example")
    EmailAddress.objects.filter(email=ADA).update(email="ada@home.example")
    assert "no address that Acme can sign in" in refused(Client(), connection, provider)


def test_disabled_person_stays_out(client: Client, connection: SingleSignOn, provider: OidcProvider, ada: User) -> None:
    User.objects.filter(pk=ada.pk).update(is_active=False)
    assert "This account is disabled" in refused(client, connection, provider)


def test_people_without_a_role_are_refused(client: Client, connection: SingleSignOn, provider: OidcProvider) -> None:
    SingleSignOn.objects.update(default_role="")
    assert "gives you no role" in refused(client, connection, provider)
    assert not User.objects.filter(email=ADA).exists()


# ID tokens


def unsigned(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, "", algorithm="none", headers={"kid": "first"})


def test_unsigned_token_is_refused(client: Client, connection: SingleSignOn, provider: OidcProvider) -> None:
    provider.sign = unsigned
    assert "ID token is not valid" in refused(client, connection, provider)


def test_token_of_another_key_is_refused(client: Client, connection: SingleSignOn, provider: OidcProvider) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    provider.sign = lambda claims: provider.signed(claims, key=other)
    assert "ID token is not valid" in refused(client, connection, provider)


def test_public_key_as_secret_is_refused(client: Client, connection: SingleSignOn, provider: OidcProvider) -> None:
    """The old trick: HS256, with the published key as the secret."""
    import hashlib
    import hmac

    def forged(claims: dict[str, Any]) -> str:
        published = json.dumps(provider.answer("GET", "/jwks", {}, "")["keys"][0]).encode()
        parts = [{"alg": "HS256", "kid": "first", "typ": "JWT"}, claims]
        text = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
        seal = base64.urlsafe_b64encode(hmac.digest(published, text, hashlib.sha256)).rstrip(b"=")
        return (text + b"." + seal).decode()

    provider.sign = forged
    assert "ID token is not valid" in refused(client, connection, provider)


@pytest.mark.parametrize(
    "lie",
    [
        {"iss": "https://evil.example"}, {"aud": "another client"}, {"aud": ["watchdog", "another client"]},
        {"azp": "another client"}, {"exp": 1_700_000_000}, {"iat": 4_100_000_000},
        {"nonce": "of another sign-in"}, {"nonce": None}, {"sub": None},
    ],
    ids=str,
)  # fmt: skip
def test_token_of_something_else_is_refused(
    client: Client, connection: SingleSignOn, provider: OidcProvider, lie: dict[str, Any]
) -> None:
    provider.sign = lambda claims: provider.signed({**claims, **lie})
    assert "ID token is not valid" in refused(client, connection, provider)


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "..", "\u0000", "{}"])
def test_garbage_as_token_is_refused(
    client: Client, connection: SingleSignOn, provider: OidcProvider, text: str
) -> None:
    provider.sign = lambda claims: text
    refused(client, connection, provider)


def test_userinfo_about_somebody_else_is_refused(
    client: Client, connection: SingleSignOn, provider: OidcProvider
) -> None:
    provider.userinfo = {"sub": "somebody else", "groups": ["board"]}
    assert "about somebody else" in refused(client, connection, provider)


def test_provider_with_another_name_is_refused(
    client: Client, connection: SingleSignOn, provider: OidcProvider
) -> None:
    provider.issuer_said = "https://evil.example"
    page = client.get(f"/accounts/sso/{connection.slug}/start/")
    assert page.status_code == 502
    assert "calls itself https://evil.example" in page.content.decode()


# State and addresses


def test_answer_works_once_and_in_one_browser(client: Client, connection: SingleSignOn, provider: OidcProvider) -> None:
    url = provider.authorize(begin(client, connection))
    thief = Client()
    assert go_back(thief, url).status_code == 403
    assert signed_in_as(thief) == ""
    go_back(client, url)
    assert signed_in_as(client) == ADA
    client.logout()
    assert go_back(client, url).status_code == 403
    assert signed_in_as(client) == ""


def test_code_of_another_sign_in_is_refused(client: Client, connection: SingleSignOn, provider: OidcProvider) -> None:
    """An attacker's code in a victim's browser: PKCE ties it to the browser that asked."""
    stolen = provider.authorize(begin(Client(), connection))
    code = stolen.partition("code=")[2].partition("&")[0]
    own = provider.authorize(begin(client, connection))
    state = own.partition("state=")[2]
    callback = f"/accounts/sso/{connection.slug}/callback/"
    assert go_back(client, f"{callback}?code={code}&state={state}").status_code == 403
    assert signed_in_as(client) == ""


def test_state_belongs_to_one_connection(
    client: Client, connection: SingleSignOn, provider: OidcProvider, stranger: User
) -> None:
    other = services.create(
        team=stranger.teams.get(), values={"name": "Other", "issuer": provider.issuer, "client_id": "watchdog"},
        by=stranger, now=timezone.now(),
    )  # fmt: skip
    url = provider.authorize(begin(client, connection))
    assert go_back(client, url.replace(connection.slug, other.slug)).status_code == 403
    assert signed_in_as(client) == ""


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "https:evil.example"]
)
def test_next_leads_nowhere_else(client: Client, connection: SingleSignOn, provider: OidcProvider, target: str) -> None:
    answer = sign_in(client, connection, provider, f"?next={target}")
    assert answer.headers["Location"] == "/admin/"


def test_redirect_uri_ignores_the_host_header(client: Client, connection: SingleSignOn, settings: Any) -> None:
    settings.BASE_URL, settings.ALLOWED_HOSTS = "https://watchdog.example", ["*"]
    answer = client.get(f"/accounts/sso/{connection.slug}/start/", headers={"host": "evil.example"})
    assert "redirect_uri=https%3A%2F%2Fwatchdog.example%2F" in answer.headers["Location"]


@pytest.mark.parametrize(
    "issuer", ["https://169.254.169.254/latest", "https://127.0.0.1:8000", "https://[::1]/", "https://localhost"]
)
def test_private_issuer_is_not_asked(
    client: Client, connection: SingleSignOn, provider: OidcProvider, settings: Any, issuer: str
) -> None:
    settings.ALLOW_PRIVATE_TARGETS = False
    SingleSignOn.objects.update(issuer=issuer)
    page = client.get(f"/accounts/sso/{connection.slug}/start/")
    assert page.status_code == 502
    assert "private addresses" in page.content.decode()
    assert provider.requests == []


def test_private_endpoint_is_not_asked(
    client: Client, connection: SingleSignOn, provider: OidcProvider, settings: Any
) -> None:
    """A public provider may name a private token endpoint; our server must not go there either."""
    url = provider.authorize(begin(client, connection))
    provider.requests.clear()
    settings.ALLOW_PRIVATE_TARGETS = False
    assert go_back(client, url).status_code in (403, 502)
    assert provider.requests == []


# Domains


def test_verified_domain_belongs_to_one_team(connection: SingleSignOn, stranger: User, operator: User) -> None:
    now = timezone.now()
    other = services.create(team=stranger.teams.get(), values={"name": "Other"}, by=stranger, now=now)
    row = services.add_domain(connection=other, domain="acme.example", by=stranger, now=now)
    with pytest.raises(ApiError, match="belongs to another team"):
        services.approve_domain(row=row, by=operator, now=now)
    with pytest.raises(ApiError, match="Only the operator"):
        services.approve_domain(row=row, by=stranger, now=now)
    row.refresh_from_db()
    assert row.verified_at is None


def test_deleted_team_frees_its_domain(
    client: Client, connection: SingleSignOn, provider: OidcProvider, team: Team, owner: User
) -> None:
    sign_in(client, connection, provider)
    team_services.delete_team(team=team, actor=owner.email, now=timezone.now())
    assert not SignInDomain.objects.exists()
    assert not SocialAccount.objects.exists()
    assert client.get(f"/accounts/sso/{connection.slug}/start/").status_code == 404


# Ways around it


def test_password_is_refused_before_it_is_checked(client: Client, enforced: SingleSignOn, ada: User) -> None:
    for password in (PASSWORD, "wrong"):
        page = client.post("/accounts/login/", {"login": ADA.upper(), "password": password}).content.decode()
        assert "acme.example signs in with Acme" in page
        assert f"/accounts/sso/{enforced.slug}/start/" in page
        assert signed_in_as(client) == ""


def test_sign_in_link_is_refused(client: Client, enforced: SingleSignOn, ada: User) -> None:
    page = client.post(sign_in_links.sign_in_url(ada).partition("8000")[2])
    assert page.status_code == 403
    assert "Continue with Acme" in page.content.decode()
    assert signed_in_as(client) == ""


def test_reset_and_sign_up_are_refused(client: Client, enforced: SingleSignOn, ada: User) -> None:
    for path, sent in (
        ("/accounts/password/reset/", {"email": ADA}),
        ("/accounts/signup/", {"email": "new@acme.example", "password1": PASSWORD}),
    ):
        assert "signs in with Acme" in client.post(path, sent).content.decode(), path
    assert mail.outbox == []
    assert not User.objects.filter(email="new@acme.example").exists()


def test_second_address_is_no_way_around(client: Client, enforced: SingleSignOn, ada: User) -> None:
    EmailAddress.objects.create(user=ada, email="ada@home.example", verified=True)
    page = client.post("/accounts/login/", {"login": "ada@home.example", "password": PASSWORD})
    assert page.status_code == 403
    assert signed_in_as(client) == ""


def test_address_cannot_be_given_up(client_of: Any, enforced: SingleSignOn, ada: User) -> None:
    from allauth.account.adapter import get_adapter

    EmailAddress.objects.create(user=ada, email="ada@home.example", verified=True)
    owned = {row.email: row for row in EmailAddress.objects.filter(user=ada)}
    assert not get_adapter().can_delete_email(owned[ADA])


def test_enforcing_ends_other_sessions(
    connection: SingleSignOn, ada: User, owner: User, member: User, client_of: Any
) -> None:
    browsers = [client_of(person) for person in (ada, member)]
    SingleSignOn.objects.update(tested_at=timezone.now())
    services.change(connection=connection, values={"enforced": True}, by=owner, current=None)
    assert not Session.objects.filter(user=ada).exists()
    assert signed_in_as(browsers[1]) == member.email


def test_other_domains_keep_their_password(client: Client, enforced: SingleSignOn, member: User) -> None:
    client.post("/accounts/login/", {"login": member.email, "password": PASSWORD})
    assert signed_in_as(client) == member.email


def test_operator_keeps_the_password(client: Client, enforced: SingleSignOn) -> None:
    boss = User.objects.create_superuser("boss@acme.example", PASSWORD)
    EmailAddress.objects.create(user=boss, email=boss.email, verified=True, primary=True)
    client.post("/accounts/login/", {"login": boss.email, "password": PASSWORD})
    assert signed_in_as(client) == boss.email


def test_enforcing_needs_a_test_and_a_domain(connection: SingleSignOn, owner: User) -> None:
    with pytest.raises(ApiError, match="Sign in as a test"):
        services.change(connection=connection, values={"enforced": True}, by=owner, current=None)
    SingleSignOn.objects.update(tested_at=timezone.now())
    SignInDomain.objects.update(verified_at=None)
    with pytest.raises(ApiError, match="Verify a domain"):
        services.change(connection=connection, values={"enforced": True}, by=owner, current=None)


@pytest.mark.parametrize("name", ["issuer", "client_id", "client_secret"])
def test_untested_settings_are_not_enforced(enforced: SingleSignOn, owner: User, name: str) -> None:
    with pytest.raises(ApiError, match="Switch off the requirement"):
        services.change(connection=enforced, values={name: "https://other.example"}, by=owner, current=None)


def test_another_provider_starts_without_links(
    client: Client, connection: SingleSignOn, provider: OidcProvider, owner: User
) -> None:
    """Its name for Ada may be the old provider's name for somebody else."""
    sign_in(client, connection, provider)
    services.change(connection=connection, values={"issuer": "https://other.example"}, by=owner, current=None)
    assert not SocialAccount.objects.exists()


# Break-glass


def test_owner_can_break_the_glass(client: Client, enforced: SingleSignOn, ada: User, capsys: Any) -> None:
    with pytest.raises(CommandError, match="owns no team"):
        call_command("break_glass", ADA)
    Membership.objects.filter(user=ada).update(role="owner")
    call_command("break_glass", ADA)
    link = capsys.readouterr().out.strip().partition("8000")[2]
    assert client.post(link).status_code == 302
    assert signed_in_as(client) == ADA
    assert AuditEntry.objects.get(action="sign_on.break_glass").target == ADA
    assert Client().post(link).status_code == 404


# A stolen session


def test_stolen_session_changes_no_provider(
    client_of: Any, connection: SingleSignOn, owner: User, viewer: User
) -> None:
    """Who chooses the provider can sign in as everybody in the domain."""
    url, stolen = f"/admin/sso/singlesignon/{connection.pk}", client_of(owner)
    sent = {"name": "Evil", "issuer": "https://evil.example", "client_id": "x", "new_secret": "s3cr3t", "do": "add"}
    for path in (f"{url}/change/", f"{url}/delete/", f"{url}/domains/", "/admin/sso/singlesignon/add/"):
        for answer in (stolen.get(path), stolen.post(path, {**sent, "domain": "evil.example", "post": "yes"})):
            assert answer.status_code == 302
            assert answer.headers["Location"].startswith("/accounts/reauthenticate/?next=%2Fadmin%2Fsso")
    assert not AuditEntry.objects.filter(action="sign_on.changed").exists()
    assert (SingleSignOn.objects.count(), connection.domains.count()) == (1, 1)
    assert "s3cr3t" not in str(stolen.session.items())
    assert client_of(viewer).get(f"{url}/change/").status_code == 200, "there is nothing to change"
    answer = recently(stolen, owner).post(f"{url}/domains/", {"do": "add", "domain": "acme2.example"})
    assert (answer.status_code, connection.domains.count()) == (302, 2)


# Secrets


def test_secret_is_never_shown(
    client_of: Any, connection: SingleSignOn, owner: User, viewer: User, operator: User
) -> None:
    SingleSignOn.objects.update(client_secret="top-secret-1")
    for person in (viewer, owner, operator):
        page = recently(client_of(person), person).get(f"/admin/sso/singlesignon/{connection.pk}/change/")
        assert page.status_code == 200
        assert "top-secret-1" not in page.content.decode()
    services.change(connection=connection, values={"client_secret": "top-secret-2"}, by=owner, current=None)
    assert AuditEntry.objects.filter(action="sign_on.changed").get().data == {"client_secret": "replaced"}
    assert "top-secret" not in "".join(portability.lines(connection.team))
    assert "sso.singlesignon" in "".join(portability.lines(connection.team))


def test_secret_is_encrypted(connection: SingleSignOn) -> None:
    from django.db import connection as database

    with database.cursor() as cursor:
        cursor.execute("SELECT client_secret FROM sso_singlesignon")
        assert "encrypted:" in str(cursor.fetchone()[0])
