"""Whether a request comes from who knows the secret, as each sender proves it. Pure.

Every comparison takes constant time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Final

# Seconds that a signed time may be off, by the specification of Standard Webhooks.
TOLERANCE: Final = 300
STANDARD_PREFIX: Final = "whsec_"
# A header with more signatures than any rotation of secrets needs is not read to its end.
MAX_SIGNATURES: Final = 10

Headers = Mapping[str, str]


def github(secret: str, headers: Headers, body: bytes, now: datetime) -> str:
    """What is wrong with the request; empty if nothing is. `headers` have lower-case names. So do the others."""
    signature = headers.get("x-hub-signature-256", "")
    if not signature:
        return "The header X-Hub-Signature-256 is missing. Enter the secret in the webhook's settings at GitHub."
    return "" if _same(signature, f"sha256={_hex(secret, body)}") else _wrong("X-Hub-Signature-256", "GitHub")


def gitlab(secret: str, headers: Headers, body: bytes, now: datetime) -> str:
    """Either of GitLab's ways: the secret token as it is, or the newer signing token by Standard Webhooks."""
    token, signed = headers.get("x-gitlab-token", ""), headers.get("webhook-signature", "")
    if token and _same(token, secret):
        return ""
    if signed:
        return _standard(secret, headers, signed, body, now)
    if token:
        return _wrong("X-Gitlab-Token", "GitLab")
    return "The headers X-Gitlab-Token and webhook-signature are missing. Enter the secret token at GitLab."


def _standard(secret: str, headers: Headers, signed: str, body: bytes, now: datetime) -> str:
    at = headers.get("webhook-timestamp", "")
    if not at.isascii() or not at.isdigit() or abs(int(at[:12]) - now.timestamp()) > TOLERANCE:
        return "The time in webhook-timestamp is more than 5 minutes off. Check the clocks of both servers."
    content = f"{headers.get('webhook-id', '')}.{at}.".encode() + body
    digest = hmac.new(_key(secret), content, hashlib.sha256).digest()
    expected = f"v1,{base64.b64encode(digest).decode()}"
    fits = [_same(one, expected) for one in signed.split()[:MAX_SIGNATURES]]
    return "" if any(fits) else _wrong("webhook-signature", "GitLab")


def _key(secret: str) -> bytes:
    """The key of a signing token: base64 after its prefix. A token in another form is its own key."""
    if secret.startswith(STANDARD_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(STANDARD_PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()


def alertmanager(secret: str, headers: Headers, body: bytes, now: datetime) -> str:
    """A bearer token, or the password of Basic credentials with any user name."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        given = _password(given.strip())
    elif scheme.lower() != "bearer":
        return "The header Authorization is missing. Set http_config.authorization or basic_auth in the receiver."
    return "" if _same(given.strip(), secret) else _wrong("Authorization", "Alertmanager")


def _password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def sentry(secret: str, headers: Headers, body: bytes, now: datetime) -> str:
    signature = headers.get("sentry-hook-signature", "")
    if not signature:
        return "The header Sentry-Hook-Signature is missing. Send it from an internal integration of Sentry."
    return "" if _same(signature, _hex(secret, body)) else _wrong("Sentry-Hook-Signature", "Sentry")


def _hex(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _same(given: str, expected: str) -> bool:
    """As bytes: comparing texts raises for characters outside of ASCII."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def _wrong(header: str, sender: str) -> str:
    return f"{header} does not fit the secret of this webhook. Enter the same secret here and at {sender}."
