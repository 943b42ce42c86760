"""OpenID Connect: what a provider publishes, and ID tokens that are only believed when everything about them fits."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final

import jwt

from teams.errors import ApiError
from teams.sso.policy import STRONG_METHOD, Identity, claim_values, is_true

# Public keys only: `none`, and secrets that anyone could know, sign nothing.
ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
# Seconds by which the provider's clock may differ from ours.
LEEWAY: Final = 60
REQUIRED_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")


def well_known(issuer: str) -> str:
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration"


def checked_configuration(found: Any, issuer: str) -> dict[str, Any]:
    """What a provider published. Raises ApiError 502 `provider_configuration` unless it fits the issuer."""
    if not isinstance(found, dict):
        raise _wrong("The provider’s configuration is not a JSON object.")
    if found.get("issuer") != issuer:
        raise _wrong(f"The provider calls itself {str(found.get('issuer'))[:200]}, not {issuer}. Enter exactly that.")
    for name in REQUIRED_ENDPOINTS:
        if not str(found.get(name) or "").startswith(("https://", "http://")):
            raise _wrong(f"The provider’s configuration has no {name}.")
    return found


def nonce_of(code_verifier: str) -> str:
    """The nonce that belongs to a sign-in: it follows from the PKCE verifier, which only this browser's session has."""
    digest = hashlib.sha256(f"nonce {code_verifier}".encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def verified_claims(id_token: str, *, keys: Any, issuer: str, client_id: str, nonce: str) -> dict[str, Any]:
    """The claims of an ID token. Raises ApiError 403 `id_token` for one that was not made for this sign-in.

    `keys` is the provider's JSON Web Key Set.
    """
    try:
        claims: dict[str, Any] = jwt.decode(
            id_token,
            _signing_key(id_token, keys),
            algorithms=list(ALGORITHMS),
            audience=client_id,
            issuer=issuer,
            leeway=LEEWAY,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _untrusted(str(error)) from None
    audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if claims.get("azp", client_id) != client_id or (len(audiences) > 1 and "azp" not in claims):
        raise _untrusted("it was issued for another client")
    if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
        raise _untrusted("it belongs to another sign-in")
    return claims


def _signing_key(id_token: str, keys: Any) -> jwt.PyJWK:
    """The key that the token names, or the only one. A key for encryption signs nothing."""
    wanted = jwt.get_unverified_header(id_token).get("kid")
    published = [key for key in keys["keys"] if key.get("use", "sig") == "sig" and key.get("kty") != "oct"]
    fitting = [key for key in published if wanted is None or key.get("kid") == wanted]
    if len(fitting) != 1:
        raise ValueError("it is signed with a key that the provider does not publish")
    return jwt.PyJWK(fitting[0])


def merged(claims: Mapping[str, Any], userinfo: Mapping[str, Any]) -> dict[str, Any]:
    """The claims of the ID token, completed by those of the userinfo endpoint, which must be about the same person."""
    if userinfo and userinfo.get("sub") != claims["sub"]:
        raise _untrusted("the userinfo endpoint answered about somebody else")
    return {**userinfo, **claims}


def identity_of(claims: Mapping[str, Any], role_claim: str) -> Identity:
    """Who the claims are about. Entra ID says `xms_edov` for a verified address, everybody else `email_verified`."""
    methods = claims.get("amr")
    return Identity(
        uid=str(claims["sub"])[:191],
        email=str(claims.get("email") or "").strip().lower(),
        verified=is_true(claims.get("email_verified", claims.get("xms_edov"))),
        name=str(claims.get("name") or ""),
        values=claim_values(claims, role_claim),
        strong=isinstance(methods, list) and STRONG_METHOD in methods,
    )


def _wrong(message: str) -> ApiError:
    return ApiError(502, "provider_configuration", message)


def _untrusted(why: str) -> ApiError:
    return ApiError(403, "id_token", f"The provider’s ID token is not valid: {why[:200]}.")
