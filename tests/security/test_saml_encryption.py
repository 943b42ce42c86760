"""Encrypted SAML assertions, and documents that would have xmlsec fetch, run or decrypt something else."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.test import Client
from onelogin.saml2.xml_utils import OneLogin_Saml2_XML

from teams.models import Team, User
from teams.sso import saml_key, saml_xml, services
from teams.sso.models import SingleSignOn
from tests.saml_provider import SamlProvider, encrypted, read_request
from tests.security.test_saml import ADA, connection, idp, post, refused
from tests.sign_on import begin, recently, signed_in_as

__all__ = ["connection", "idp"]
pytestmark = pytest.mark.django_db
INSIDE = "the server’s log says what is wrong"


def sent(browser: Client, connection: SingleSignOn, idp: SamlProvider, certificate: str = "", **algorithms: str) -> str:
    """The response of a sign-in that has just begun, encrypted for the connection or for somebody else."""
    asked = read_request(begin(browser, connection))
    certificate = certificate or connection.saml_key["certificate"]
    return idp.response(asked, encrypted(idp.assertion(asked), certificate, **algorithms))


@pytest.mark.parametrize("cipher", ["AES128", "AES256", "AES128_GCM", "AES256_GCM"])
def test_encrypted_assertion_signs_in(client: Client, connection: SingleSignOn, idp: SamlProvider, cipher: str) -> None:
    post(client, connection, sent(client, connection, idp, cipher=cipher))
    assert signed_in_as(client) == ADA


def test_metadata_has_the_certificate(client: Client, connection: SingleSignOn, owner: User, client_of: Any) -> None:
    certificate = connection.saml_key["certificate"]
    body = "".join(certificate.split("-----")[2].split())
    page = client.get(f"/accounts/sso/{connection.slug}/metadata/").content.decode()
    assert 'use="encryption"' in page
    assert body in "".join(page.split())
    shown = recently(client_of(owner), owner).get(f"/admin/sso/singlesignon/{connection.pk}/change/").content.decode()
    assert certificate.splitlines()[1] in shown
    assert "PRIVATE KEY" not in page + shown


def test_each_connection_keeps_its_own_key(connection: SingleSignOn, owner: User, stranger: User) -> None:
    before = connection.saml_key
    services.change(connection=connection, values={"name": "New"}, by=owner, current=None)
    connection.refresh_from_db()
    assert connection.saml_key == before
    other = services.create(
        team=stranger.teams.get(), values={"name": "B", "protocol": "saml"}, by=stranger, now=connection.created_at
    )
    assert other.saml_key["private_key"] != before["private_key"]


def test_key_is_made_when_saml_is_chosen(team: Team, owner: User, idp: SamlProvider) -> None:
    Team.objects.exclude(pk=team.pk).delete()
    now = team.created_at
    made = services.create(team=team, values={"name": "A"}, by=owner, now=now)
    assert made.saml_key == {}
    changed = services.change(connection=made, values={"protocol": "saml"}, by=owner, current=None)
    assert changed.saml_key["certificate"].startswith("-----BEGIN CERTIFICATE-----")


def test_encryption_is_no_signature(client: Client, connection: SingleSignOn, idp: SamlProvider) -> None:
    """Everybody has the certificate, so everybody can encrypt."""
    asked = read_request(begin(client, connection))
    forged = encrypted(idp.unsigned(asked), connection.saml_key["certificate"])
    assert INSIDE in refused(client, connection, idp.response(asked, forged))


@pytest.mark.parametrize("lie", [{"audience": "https://other.example"}, {"answers": "_another"}], ids=str)
def test_encrypted_lies_are_refused_alike(
    client: Client, connection: SingleSignOn, idp: SamlProvider, lie: dict[str, str]
) -> None:
    for name, value in lie.items():
        setattr(idp, name, value)
    assert INSIDE in refused(client, connection, sent(client, connection, idp))


def test_assertion_for_another_key_is_refused(client: Client, connection: SingleSignOn, idp: SamlProvider) -> None:
    other = saml_key.make("other", connection.created_at)["certificate"]
    assert INSIDE in refused(client, connection, sent(client, connection, idp, other))


@pytest.mark.parametrize(
    ("algorithms", "why"),
    [
        ({"transport": "RSA_PKCS1"}, "RSA-OAEP"),
        ({"cipher": "DES3", "session_key": "DES"}, "AES"),
    ],
    ids=str,
)
def test_weak_encryption_is_refused(
    client: Client, connection: SingleSignOn, idp: SamlProvider, algorithms: dict[str, str], why: str
) -> None:
    assert why in refused(client, connection, sent(client, connection, idp, **algorithms))


# What would have the server fetch, read or run something

DSIG, ENC = "http://www.w3.org/2000/09/xmldsig#", "http://www.w3.org/2001/04/xmlenc#"
OUTSIDE = ["http://127.0.0.1:9/x", "file:///etc/passwd", "/etc/passwd", "", "../x"]
SECOND_REFERENCE = (
    f'<ds:Reference xmlns:ds="{DSIG}" URI="{{uri}}"><ds:DigestMethod Algorithm="{ENC}sha256"/>'
    "<ds:DigestValue>AAAA</ds:DigestValue></ds:Reference>"
)


def with_reference(assertion: str, uri: str) -> str:
    return assertion.replace("</ds:SignedInfo>", SECOND_REFERENCE.format(uri=uri) + "</ds:SignedInfo>")


@pytest.mark.parametrize("uri", OUTSIDE)
@pytest.mark.parametrize("is_hidden", [False, True])
def test_signature_refers_to_itself_only(
    client: Client, connection: SingleSignOn, idp: SamlProvider, uri: str, is_hidden: bool
) -> None:
    """Who posts here must not make us ask other addresses or read files."""
    asked = read_request(begin(client, connection))
    forged = with_reference(idp.assertion(asked), uri)
    if is_hidden:
        forged = encrypted(forged, connection.saml_key["certificate"])
    page = refused(client, connection, idp.response(asked, forged))
    assert (INSIDE if is_hidden else "refers to something outside") in page


def test_signature_of_two_elements_is_refused(client: Client, connection: SingleSignOn, idp: SamlProvider) -> None:
    asked = read_request(begin(client, connection))
    forged = with_reference(idp.assertion(asked), "#_other")
    assert "must be of one element" in refused(client, connection, idp.response(asked, forged))


@pytest.mark.parametrize(
    "algorithm", ["http://www.w3.org/TR/1999/REC-xslt-19991116", "http://www.w3.org/TR/1999/REC-xpath-19991116"]
)
def test_signature_runs_no_program(client: Client, connection: SingleSignOn, idp: SamlProvider, algorithm: str) -> None:
    asked = read_request(begin(client, connection))
    forged = idp.assertion(asked).replace(f"{DSIG}enveloped-signature", algorithm)
    assert "transform" in refused(client, connection, idp.response(asked, forged))


@pytest.mark.parametrize("name", ["CipherReference", "RetrievalMethod", "KeyInfoReference", "Manifest"])
def test_documents_name_no_other_place(name: str) -> None:
    document = OneLogin_Saml2_XML.to_etree(f'<a><b xmlns="urn:x"><{name} URI="https://evil.example/"/></b></a>')
    assert "outside" in saml_xml.problem(document)
    assert saml_xml.problem(OneLogin_Saml2_XML.to_etree(f'<a><{name} URI="#_inside"/></a>')) == ""


def test_garbage_in_encryption_is_refused(client: Client, connection: SingleSignOn, idp: SamlProvider) -> None:
    whole = base64.b64decode(sent(client, connection, idp)).decode()
    start = whole.index("CipherValue>") + 40
    for broken in (whole[:start] + "AAAA" + whole[start + 4 :], whole.replace("CipherValue", "CipherNothing")):
        refused(client, connection, base64.b64encode(broken.encode()).decode())
