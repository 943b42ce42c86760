"""A small SAML identity provider: signs and encrypts assertions with xmlsec. Tests can make it lie."""

from __future__ import annotations

import base64
import importlib
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
from onelogin.saml2.xml_utils import OneLogin_Saml2_XML

ENTITY_ID, SSO_URL = "https://idp.acme.example/metadata", "https://idp.acme.example/sso"

SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
ENCRYPTED_ASSERTION = f"{{{SAML}}}EncryptedAssertion"

METADATA = """<?xml version="1.0"?>
<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{entity}">
<md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><md:KeyDescriptor use="signing">
<ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>{body}</ds:X509Certificate>
</ds:X509Data></ds:KeyInfo></md:KeyDescriptor>
<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{sso}"/>
</md:IDPSSODescriptor></md:EntityDescriptor>"""
RESPONSE = (
    '<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_{uid}" Version="2.0" '
    'IssueInstant="{now}" Destination="{acs}" InResponseTo="{id}">'
    '<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">{issuer}</saml:Issuer>'
    '<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>'
    "{assertion}</samlp:Response>"
)
AUDIENCE = "<saml:AudienceRestriction><saml:Audience>{audience}</saml:Audience></saml:AudienceRestriction>"
ATTRIBUTE = '<saml:Attribute Name="{name}">{values}</saml:Attribute>'
ASSERTION = (
    '<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_{uid}" Version="2.0" '
    'IssueInstant="{now}"><saml:Issuer>{issuer}</saml:Issuer><saml:Subject>'
    '<saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">id of {email}</saml:NameID>'
    '<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">'
    '<saml:SubjectConfirmationData {answers} NotOnOrAfter="{ends}" Recipient="{recipient}"/>'
    "</saml:SubjectConfirmation></saml:Subject>"
    '<saml:Conditions NotBefore="{before}" NotOnOrAfter="{ends}">{audience}</saml:Conditions>'
    '<saml:AuthnStatement AuthnInstant="{now}"><saml:AuthnContext>'
    "<saml:AuthnContextClassRef>{context}</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>"
    "<saml:AttributeStatement>{attributes}</saml:AttributeStatement></saml:Assertion>"
)


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
        return METADATA.format(entity=ENTITY_ID, sso=SSO_URL, body=re.sub(r"-----[A-Z ]+-----|\s", "", self.key[1]))

    def assertion(self, asked: dict[str, str]) -> str:
        """The signed assertion that answers a request."""
        xml = self.unsigned(asked)
        signed: Any = OneLogin_Saml2_Utils.add_sign(xml, *self.key, sign_algorithm=self.algorithm)
        text: str = signed.decode() if isinstance(signed, bytes) else signed
        return text.partition("?>")[2] if text.startswith("<?xml") else text

    def response(self, asked: dict[str, str], assertion: str) -> str:
        """The form field that the browser posts."""
        xml = RESPONSE.format(
            now=text_of(datetime.now(UTC)),
            issuer=self.issuer,
            assertion=assertion,
            uid=uuid.uuid4().hex,
            acs=asked["acs"],
            id=asked["id"],
        )
        return base64.b64encode(xml.encode()).decode()

    def sign_in(self, url: str) -> str:
        asked = read_request(url)
        return self.response(asked, self.assertion(asked))

    def unsigned(self, asked: dict[str, str]) -> str:
        now = datetime.now(UTC)
        audience = asked["issuer"] if self.audience is None else self.audience
        answers = asked["id"] if self.answers is None else self.answers
        values = {"email": [self.email], **self.attributes}
        return ASSERTION.format(
            uid=uuid.uuid4().hex,
            before=text_of(now - timedelta(minutes=1)),
            now=text_of(now),
            ends=text_of(now + self.ends),
            issuer=self.issuer,
            email=self.email,
            context=self.context,
            recipient=self.recipient or asked["acs"],
            answers=f'InResponseTo="{answers}"' if answers else "",
            audience=AUDIENCE.format(audience=audience) if audience else "",
            attributes="".join(ATTRIBUTE.format(name=name, values=_values(texts)) for name, texts in values.items()),
        )


def encrypted(
    assertion: str, certificate: str, *, cipher: str = "AES256", transport: str = "RSA_OAEP", session_key: str = "AES"
) -> str:
    """An assertion for the holder of a certificate only. The algorithms are xmlsec's names of them."""
    xmlsec: Any = importlib.import_module("xmlsec")  # its types do not name what it exports
    element: Any = OneLogin_Saml2_XML.to_etree(assertion)
    wrapped: Any = OneLogin_Saml2_XML.make_root(ENCRYPTED_ASSERTION, nsmap={"saml": SAML})
    data = xmlsec.template.encrypted_data_create(
        wrapped, getattr(xmlsec.Transform, cipher), type=xmlsec.EncryptionType.ELEMENT, ns="xenc"
    )
    xmlsec.template.encrypted_data_ensure_cipher_value(data)
    info = xmlsec.template.encrypted_data_ensure_key_info(data, ns="dsig")
    key = xmlsec.template.add_encrypted_key(info, getattr(xmlsec.Transform, transport))
    xmlsec.template.encrypted_data_ensure_cipher_value(key)
    manager = xmlsec.KeysManager()
    manager.add_key(xmlsec.Key.from_memory(certificate, xmlsec.KeyFormat.CERT_PEM, None))
    context = xmlsec.EncryptionContext(manager)
    bits = 192 if session_key == "DES" else int("".join(filter(str.isdigit, cipher))[:3])
    context.key = xmlsec.Key.generate(getattr(xmlsec.KeyData, session_key), bits, xmlsec.KeyDataType.SESSION)
    wrapped.append(context.encrypt_xml(data, element))
    text: bytes = OneLogin_Saml2_XML.to_string(wrapped)
    return text.decode()


def _values(texts: list[str]) -> str:
    return "".join(f"<saml:AttributeValue>{text}</saml:AttributeValue>" for text in texts)


def text_of(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def read_request(url: str) -> dict[str, str]:
    """What the server asks for: the ID of its request, its own name, and where to answer."""
    packed = parse_qs(urlsplit(url).query)["SAMLRequest"][0]
    xml = zlib.decompress(base64.b64decode(packed), -15).decode()
    parts = {"id": r'\bID="([^"]+)', "acs": r'AssertionConsumerServiceURL="([^"]+)', "issuer": r"Issuer>([^<]+)"}
    return {name: re.search(pattern, xml)[1] for name, pattern in parts.items()}  # type: ignore[index]
