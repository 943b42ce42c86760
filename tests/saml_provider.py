"""A small SAML identity provider. It reads requests, and signs assertions with xmlsec; tests can make it lie."""

from __future__ import annotations

import base64
import re
import uuid
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from onelogin.saml2.utils import OneLogin_Saml2_Utils

ENTITY_ID, SSO_URL = "https://idp.acme.example/metadata", "https://idp.acme.example/sso"


def make_key() -> tuple[str, str]:
    """A private key and its certificate, as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idp")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode()


@dataclass
class SamlProvider:
    """`email` and `attributes` are of whoever signs in next; the rest is what an honest provider says."""

    email: str = "ada@acme.example"
    attributes: dict[str, list[str]] = field(default_factory=dict)
    context: str = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
    issuer: str = ENTITY_ID
    audience: str | None = None
    recipient: str | None = None
    answers: str | None = None
    ends: timedelta = timedelta(minutes=5)
    algorithm: str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
    key: tuple[str, str] = field(default_factory=make_key)

    @property
    def metadata(self) -> str:
        body = re.sub(r"-----[A-Z ]+-----|\s", "", self.key[1])
        return f"""<?xml version="1.0"?>
<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{ENTITY_ID}">
<md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><md:KeyDescriptor use="signing">
<ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>{body}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>
</md:KeyDescriptor><md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{SSO_URL}"/>
</md:IDPSSODescriptor></md:EntityDescriptor>"""

    def assertion(self, asked: dict[str, str]) -> str:
        """The signed assertion that answers a request."""
        xml = self._unsigned(asked)
        signed: Any = OneLogin_Saml2_Utils.add_sign(xml, *self.key, sign_algorithm=self.algorithm)
        return (signed if isinstance(signed, str) else signed.decode()).partition("?>\n")[2] or str(signed)

    def response(self, asked: dict[str, str], assertion: str) -> str:
        """The form field that the browser posts."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        xml = (
            f'<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_{uuid.uuid4().hex}" Version="2.0" '
            f'IssueInstant="{now}" Destination="{asked["acs"]}" InResponseTo="{asked["id"]}">'
            f'<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">{self.issuer}</saml:Issuer><samlp:Status>'
            f'<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>{assertion}</samlp:Response>'
        )
        return base64.b64encode(xml.encode()).decode()

    def sign_in(self, url: str) -> str:
        asked = read_request(url)
        return self.response(asked, self.assertion(asked))

    def _unsigned(self, asked: dict[str, str]) -> str:
        now = datetime.now(UTC)
        times = [
            (now + shift).strftime("%Y-%m-%dT%H:%M:%SZ") for shift in (timedelta(minutes=-1), timedelta(), self.ends)
        ]
        audience = asked["issuer"] if self.audience is None else self.audience
        restriction = f"<saml:AudienceRestriction><saml:Audience>{audience}</saml:Audience></saml:AudienceRestriction>"
        answers = asked["id"] if self.answers is None else self.answers
        values = {"email": [self.email], **self.attributes}
        statements = "".join(
            f'<saml:Attribute Name="{name}">'
            + "".join(f"<saml:AttributeValue>{text}</saml:AttributeValue>" for text in texts)
            + "</saml:Attribute>"
            for name, texts in values.items()
        )
        return (
            f'<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_{uuid.uuid4().hex}" Version="2.0" '
            f'IssueInstant="{times[1]}"><saml:Issuer>{self.issuer}</saml:Issuer><saml:Subject>'
            f'<saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">id of {self.email}</saml:NameID>'
            f'<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData '
            + (f'InResponseTo="{answers}" ' if answers else "")
            + f'NotOnOrAfter="{times[2]}" Recipient="{self.recipient or asked["acs"]}"/></saml:SubjectConfirmation>'
            f'</saml:Subject><saml:Conditions NotBefore="{times[0]}" NotOnOrAfter="{times[2]}">'
            + (restriction if audience else "")
            + f'</saml:Conditions><saml:AuthnStatement AuthnInstant="{times[1]}"><saml:AuthnContext>'
            f"<saml:AuthnContextClassRef>{self.context}</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>"
            f"<saml:AttributeStatement>{statements}</saml:AttributeStatement></saml:Assertion>"
        )


def read_request(url: str) -> dict[str, str]:
    """What the server asks for: the ID of its request, its own name, and where to answer."""
    packed = parse_qs(urlsplit(url).query)["SAMLRequest"][0]
    xml = zlib.decompress(base64.b64decode(packed), -15).decode()
    parts = {"id": r'\bID="([^"]+)', "acs": r'AssertionConsumerServiceURL="([^"]+)', "issuer": r"Issuer>([^<]+)"}
    return {name: re.search(pattern, xml)[1] for name, pattern in parts.items()}  # type: ignore[index]
