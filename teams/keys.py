"""What an API key looks like. Pure: no Django, no clock.

`cv_`, 8 characters to tell it by, 32 secret ones; all base62, so a double click selects the whole key.
"""

import hashlib
import re
import secrets
import string
from typing import Final

_ALPHABET: Final = string.ascii_letters + string.digits
_SHAPE: Final = re.compile(r"cv_[A-Za-z0-9]{40}")
PREFIX_LENGTH: Final = 11


def generate() -> str:
    """A new key, in plain text."""
    return "cv_" + "".join(secrets.choice(_ALPHABET) for _ in range(40))


def looks_like_key(raw: str) -> bool:
    return _SHAPE.fullmatch(raw) is not None


def prefix_of(raw: str) -> str:
    return raw[:PREFIX_LENGTH]


def hash_of(raw: str) -> str:
    """The SHA-256 of a key, in hex: all that is stored of its secret."""
    return hashlib.sha256(raw.encode()).hexdigest()
