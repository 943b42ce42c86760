"""Format of an API key. Pure: no Django, no clock.

`cv_`, then 8 characters that identify the key and 32 secret ones; all base62, so a double click selects the whole key.
"""

import hashlib
import re
import secrets
import string
from typing import Final

_ALPHABET: Final = string.ascii_letters + string.digits
_PATTERN: Final = re.compile(r"cv_[A-Za-z0-9]{40}")
PREFIX_LENGTH: Final = 11
PING_KEY_LENGTH: Final = 22


def generate() -> str:
    """A new key in plain text."""
    return "cv_" + "".join(secrets.choice(_ALPHABET) for _ in range(40))


def generate_ping_key() -> str:
    """A project's key in ping addresses: 22 characters, 131 random bits, as long as that of Healthchecks."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(PING_KEY_LENGTH))


def looks_like_key(raw: str) -> bool:
    return _PATTERN.fullmatch(raw) is not None


def prefix_of(raw: str) -> str:
    return raw[:PREFIX_LENGTH]


def hash_of(raw: str) -> str:
    """The SHA-256 of a key in hex; the key itself is never stored."""
    return hashlib.sha256(raw.encode()).hexdigest()
