"""SAML 2.0: requests to a provider, and assertions that are only believed when everything about them fits.

python3-saml checks signature, schema, issuer and times. What it lets an assertion leave out, `_require_bound` demands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from allauth.socialaccount.providers.saml.provider import SAMLProvider
from django.conf import settings
from onelogin.saml2.auth import OneLogin_Saml2_Auth
from onelogin.saml2.errors import OneLogin_Saml2_Error
from onelogin.saml2.idp_metadata_parser import OneLogin_Saml2_IdPMetadataParser
from onelogin.saml2.response import OneLogin_Saml2_Response
from onelogin.saml2.settings import OneLogin_Saml2_Settings
from onelogin.saml2.utils import OneLogin_Saml2_Utils
from onelogin.saml2.xml_utils import OneLogin_Saml2_XML

from teams.errors import ApiError
from teams.links import absolute
from teams.sso import saml_xml
from teams.sso.models import SingleSignOn
from teams.sso.policy import STRONG_CONTEXTS, Identity, claim_values

log = structlog.get_logger(__name__)
# Characters of base64: far more than the longest list of groups.
MAX_RESPONSE: Final = 256 * 1024
_POST: Final = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
_EMAIL: Final = ("email", "mail", *SAMLProvider.default_attribute_mapping["email"])
_NAME: Final = (
    "displayName",
    "http://schemas.microsoft.com/identity/claims/displayname",
    "urn:oid:2.16.840.1.113730.3.1.241",
)
_EMAIL_FORMAT: Final = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"


def parse_metadata(xml: str) -> dict[str, Any]:
    """What is needed of a provider's metadata. Raises ValueError with a message for people."""
    try:
        found = OneLogin_Saml2_IdPMetadataParser.parse(xml.strip()).get("idp", {})
    except Exception:  # lxml, xmlsec and the parser raise errors of their own for what is not metadata
        raise ValueError("This is not SAML metadata. Paste the whole XML file.") from None
    certificates = found.get("x509certMulti", {}).get("signing") or [found.get("x509cert", "")]
    sso_url, entity_id = found.get("singleSignOnService", {}).get("url", ""), found.get("entityId", "")
    if not (entity_id and certificates[0]):
        raise ValueError("The metadata of an identity provider has an entity ID and a signing certificate.")
    if not sso_url.startswith("https://" if not settings.ALLOW_PRIVATE_TARGETS else ("https://", "http://")):
        raise ValueError("The metadata names no address for sign-in with the HTTP-Redirect binding.")
    return {"entity_id": entity_id, "sso_url": sso_url, "certificates": certificates}


def begin(connection: SingleSignOn) -> tuple[str, str]:
    """The provider's address to lead a browser to, and the ID of the request in it."""
    auth = OneLogin_Saml2_Auth(_request(connection), _settings(connection))
    return auth.login(return_to=""), auth.get_last_request_id()


def metadata(connection: SingleSignOn) -> bytes:
    """Ours, for providers that read it: our addresses, and the certificate to encrypt assertions with."""
    described = _settings(connection)
    # Only in what we publish: an assertion may be encrypted, it need not be.
    described["security"]["wantAssertionsEncrypted"] = bool(connection.saml_key)
    ours = OneLogin_Saml2_Settings(described, sp_validation_only=True)
    found: str | bytes = ours.get_sp_metadata()
    return found.encode() if isinstance(found, str) else found


def verified_identity(connection: SingleSignOn, sent: str) -> tuple[Identity, str]:
    """Who a response is about, and the ID of the request that it answers. Raises ApiError 403 `assertion`."""
    if not sent or len(sent) > MAX_RESPONSE:
        raise _untrusted("it is empty or too long")
    is_encrypted = False
    try:
        document = OneLogin_Saml2_XML.to_etree(OneLogin_Saml2_Utils.b64decode(sent))
        _require_harmless(document)
        is_encrypted = saml_xml.is_encrypted(document)
        return _verified(connection, sent)
    except Exception as error:
        why = _reason(error)
        log.warning("sign_on.assertion_refused", connection=connection.slug, reason=why)
        # One answer for all: what is wrong inside would tell, answer by answer, what was encrypted.
        raise _untrusted("it is encrypted, and the server’s log says what is wrong" if is_encrypted else why) from None


def _verified(connection: SingleSignOn, sent: str) -> tuple[Identity, str]:
    response = OneLogin_Saml2_Response(OneLogin_Saml2_Settings(_settings(connection)), sent)
    # Again: what was encrypted is a stranger's, too.
    _require_harmless(response.get_xml_document())
    response.is_valid(_request(connection), raise_exceptions=True)
    request_id = _require_bound(connection, response)
    return _identity(connection, response), request_id


def _require_harmless(document: Any) -> None:
    if why := saml_xml.problem(document):
        raise _RefusedError(why)


class _RefusedError(Exception):
    """Why an assertion is not for us, or not to be read at all."""


def _reason(error: Exception) -> str:
    if isinstance(error, _RefusedError | OneLogin_Saml2_Error):
        return str(error)
    # What lxml and xmlsec raise for XML that is none, or that was tampered with.
    return f"it could not be read ({type(error).__name__})"


def _require_bound(connection: SingleSignOn, response: OneLogin_Saml2_Response) -> str:
    """The signed assertion itself must be for us, for one of our requests, and for a short time."""
    audiences = response.get_audiences()
    if entity_id(connection) not in audiences:
        raise _RefusedError("it names no audience" if not audiences else "it is for another audience")
    for data in response._query_assertion("/saml:Subject/saml:SubjectConfirmation/saml:SubjectConfirmationData"):
        request_id = str(data.get("InResponseTo") or "")
        is_ours = data.get("Recipient") == acs_url(connection) and data.get("NotOnOrAfter")
        if request_id and is_ours and request_id == response.get_in_response_to():
            return request_id
    raise _RefusedError("it does not answer a request of this server")


def _identity(connection: SingleSignOn, response: OneLogin_Saml2_Response) -> Identity:
    """SAML says nothing about verified addresses. The owner of the domain chose this provider, so its word counts."""
    attributes: Mapping[str, list[str]] = response.get_attributes()
    email = next((attributes[name][0] for name in _EMAIL if attributes.get(name)), "")
    if not email and response.get_nameid_format() == _EMAIL_FORMAT:
        email = response.get_nameid()
    denied = attributes.get("email_verified", ["true"])[:1] == ["false"]
    return Identity(
        uid=str(response.get_nameid())[:191],
        email=email.strip().lower(),
        verified=not denied,
        name=next((attributes[name][0] for name in _NAME if attributes.get(name)), ""),
        values=claim_values(attributes, connection.role_claim),
        strong=bool(STRONG_CONTEXTS & set(response.get_authn_contexts())),
    )


def entity_id(connection: SingleSignOn) -> str:
    return absolute("sso:metadata", connection.slug)


def acs_url(connection: SingleSignOn) -> str:
    return absolute("sso:acs", connection.slug)


def _request(connection: SingleSignOn) -> dict[str, Any]:
    """The request as python3-saml wants it: from `BASE_URL`, never from headers."""
    ours = urlsplit(acs_url(connection))
    return {
        "https": "on" if ours.scheme == "https" else "off",
        "http_host": ours.netloc,
        "script_name": ours.path,
        "get_data": {},
        "post_data": {},
    }


def _settings(connection: SingleSignOn) -> dict[str, Any]:
    """Strict: only signed assertions, no SHA-1."""
    key = connection.saml_key
    ours = {"x509cert": key["certificate"], "privateKey": key["private_key"]} if key else {}
    return {
        "strict": True,
        "sp": {
            **ours,
            "entityId": entity_id(connection),
            "assertionConsumerService": {"url": acs_url(connection), "binding": _POST},
            "NameIDFormat": "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified",
        },
        "idp": {
            "entityId": connection.saml.get("entity_id", ""),
            "singleSignOnService": {"url": connection.saml.get("sso_url", "")},
            "x509certMulti": {"signing": connection.saml.get("certificates", [])},
        },
        "security": {
            "wantAssertionsSigned": True,
            "wantNameId": True,
            "wantAttributeStatement": False,
            "rejectDeprecatedAlgorithm": True,
            "requestedAuthnContext": False,
            "allowRepeatAttributeName": True,
            "allowSingleLabelDomains": True,
            "signatureAlgorithm": "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            "digestAlgorithm": "http://www.w3.org/2001/04/xmlenc#sha256",
        },
    }


def _untrusted(why: str) -> ApiError:
    return ApiError(403, "assertion", f"The provider’s SAML response is not valid: {why[:200]}.")
