"""SAML: an honest assertion signs in; a forged, wrapped, replayed or borrowed one does not."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from teams.models import AuditEntry, Membership, Team, User
from teams.sso import saml, services
from teams.sso.models import SingleSignOn
from tests.saml_provider import SamlProvider, make_key, read_request
from tests.sign_on import ACME, begin, signed_in_as

pytestmark = pytest.mark.django_db
ADA = "ada@acme.example"


@pytest.fixture
def idp() -> SamlProvider:
    return SamlProvider()


@pytest.fixture
def connection(idp: SamlProvider, team: Team, owner: User, operator: User) -> SingleSignOn:
    values = {
        "name": "Acme", "protocol": "saml", "saml": saml.parse_metadata(idp.metadata),
        "role_claim": "groups", "roles": [["engineering", "admin"]],
    }  # fmt: skip
    made = services.create(team=team, values=values, by=owner, now=timezone.now())
    row = services.add_domain(connection=made, domain=ACME, by=owner, now=timezone.now())
    services.approve_domain(row=row, by=operator, now=timezone.now())
    return made


def post(browser: Client, connection: SingleSignOn, sent: str, **more: str) -> HttpResponse:
    """Post a response as the provider's page does, and follow to the end."""
    answer = browser.post(f"/accounts/sso/{connection.slug}/acs/", {"SAMLResponse": sent, **more})
    if answer.status_code == 302:
        answer = browser.get(answer.headers["Location"])
    return answer  # type: ignore[return-value]


def refused(browser: Client, connection: SingleSignOn, sent: str) -> str:
    answer = post(browser, connection, sent)
    assert answer.status_code == 403
    assert signed_in_as(browser) == ""
    assert not User.objects.filter(email=ADA).exists()
    return answer.content.decode()


def test_assertion_signs_in_with_role(client: Client, connection: SingleSignOn, idp: SamlProvider, team: Team) -> None:
    idp.attributes = {"groups": ["all", "engineering"], "displayName": ["Ada L."]}
    answer = post(client, connection, idp.sign_in(begin(client, connection, "?next=/admin/agents/agent/")))
    assert answer.headers["Location"] == "/admin/agents/agent/"
    assert signed_in_as(client) == ADA
    assert Membership.objects.get(team=team, user__email=ADA).role == "admin"


def test_asserted_second_factor_opens_strict_team(
    client: Client, connection: SingleSignOn, idp: SamlProvider, team: Team
) -> None:
    Team.objects.filter(pk=team.pk).update(require_second_factor=True)
    idp.context = "https://refeds.org/profile/mfa"
    post(client, connection, idp.sign_in(begin(client, connection)))
    assert client.get("/admin/teams/project/").status_code == 200


def test_our_metadata_names_our_addresses(client: Client, connection: SingleSignOn) -> None:
    page = client.get(f"/accounts/sso/{connection.slug}/metadata/").content.decode()
    assert saml.acs_url(connection) in page
    assert saml.entity_id(connection) in page


def test_foreign_address_is_refused(client: Client, connection: SingleSignOn, idp: SamlProvider) -> None:
    idp.email = "owner@example.com"
    assert "cannot sign in example.com" in refused(client, connection, idp.sign_in(begin(client, connection)))
    assert AuditEntry.objects.get(action="sign_on.refused").data == {"reason": "foreign_address"}


def test_denied_address_is_refused(client: Client, connection: SingleSignOn, idp: SamlProvider) -> None:
    idp.attributes = {"email_verified": ["false"]}
    assert "has not verified" in refused(client, connection, idp.sign_in(begin(client, connection)))


def test_unsigned_assertion_is_refused(client: Client, connection: SingleSignOn, idp: SamlProvider) -> None:
    asked = read_request(begin(client, connection))
    assert "not valid" in refused(client, connection, idp.response(asked, idp.unsigned(asked)))


@pytest.mark.parametrize(
    "lie",
    [
        {"issuer": "https://evil.example"}, {"audience": "https://other.example"}, {"audience": ""},
        {"recipient": "https://other.example/acs/"}, {"answers": "_another"}, {"answers": ""},
        {"ends": timedelta(hours=-1)}, {"algorithm": "http://www.w3.org/2000/09/xmldsig#rsa-sha1"},
    ],
    ids=str,
)  # fmt: skip
def test_assertion_of_something_else_is_refused(
    client: Client, connection: SingleSignOn, idp: SamlProvider, lie: dict[str, Any]
) -> None:
    for name, value in lie.items():
        setattr(idp, name, value)
    assert "not valid" in refused(client, connection, idp.sign_in(begin(client, connection)))


def test_other_key_is_refused(client: Client, connection: SingleSignOn, idp: SamlProvider) -> None:
    """Its certificate stands in the response, which proves nothing."""
    idp.key = make_key()
    assert "not valid" in refused(client, connection, idp.sign_in(begin(client, connection)))


def test_changed_assertion_is_refused(client: Client, connection: SingleSignOn, idp: SamlProvider) -> None:
    idp.email = "eve@acme.example"
    asked = read_request(begin(client, connection))
    forged = idp.assertion(asked).replace("eve@acme.example", ADA)
    assert "not valid" in refused(client, connection, idp.response(asked, forged))


def test_comment_does_not_shorten_the_address(client: Client, connection: SingleSignOn, idp: SamlProvider) -> None:
    """Canonical XML has no comments, so one inside a signed text must not cut it off."""
    idp.email = "ada@acme.example.evil.example"
    asked = read_request(begin(client, connection))
    forged = idp.assertion(asked).replace(">ada@acme.example.evil", ">ada@acme.example<!---->.evil")
    refused(client, connection, idp.response(asked, forged))


@pytest.mark.parametrize("place", ["before", "after", "extension"])
def test_wrapped_assertion_is_refused(client: Client, connection: SingleSignOn, idp: SamlProvider, place: str) -> None:
    """The signed assertion is about Eve; an unsigned one about Ada stands beside or around it."""
    asked = read_request(begin(client, connection))
    idp.email = "eve@acme.example"
    signed = idp.assertion(asked)
    idp.email = ADA
    evil = idp.unsigned(asked)
    inside = f"<samlp:Extensions>{signed}</samlp:Extensions>{evil}"
    both = {"before": evil + signed, "after": signed + evil, "extension": inside}[place]
    assert "not valid" in refused(client, connection, idp.response(asked, both))


def test_response_works_once_and_in_one_browser(client: Client, connection: SingleSignOn, idp: SamlProvider) -> None:
    sent = idp.sign_in(begin(client, connection))
    thief = Client()
    assert post(thief, connection, sent).status_code == 403
    assert signed_in_as(thief) == ""
    post(client, connection, sent)
    assert signed_in_as(client) == ADA
    client.logout()
    assert post(client, connection, sent).status_code == 403
    assert signed_in_as(client) == ""


def test_unasked_response_is_refused(client: Client, connection: SingleSignOn, idp: SamlProvider) -> None:
    begin(client, connection)
    asked = {"id": "_never", "acs": saml.acs_url(connection), "issuer": saml.entity_id(connection)}
    assert "has expired" in refused(client, connection, idp.response(asked, idp.assertion(asked)))


def test_relay_state_leads_nowhere(client: Client, connection: SingleSignOn, idp: SamlProvider) -> None:
    sent = idp.sign_in(begin(client, connection))
    assert post(client, connection, sent, RelayState="https://evil.example").headers["Location"] == "/admin/"


def test_response_for_another_team_is_refused(
    client: Client, connection: SingleSignOn, idp: SamlProvider, stranger: User
) -> None:
    """The same provider serves two teams: what it says to one of them does not open the other."""
    values = {"name": "Other", "protocol": "saml", "saml": connection.saml}
    other = services.create(team=stranger.teams.get(), values=values, by=stranger, now=timezone.now())
    assert "not valid" in refused(client, other, idp.sign_in(begin(client, connection)))


DOCTYPE = '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>'


@pytest.mark.parametrize("text", ["", "x", "<a/>", DOCTYPE, "A" * 300_000])
def test_garbage_is_refused(client: Client, connection: SingleSignOn, text: str) -> None:
    for sent in (text, base64.b64encode(text.encode()).decode()):
        refused(client, connection, sent)


@pytest.mark.parametrize("text", ["x", "<a/>", DOCTYPE, "<md:EntityDescriptor/>"])
def test_metadata_must_be_metadata(text: str) -> None:
    with pytest.raises(ValueError, match="metadata"):
        saml.parse_metadata(text)
