"""Agent names as they are stored: every name becomes readable, and different names stay different.

The server has the same rules in `agents/domain/wire/names.py`. Pure.
"""

from __future__ import annotations

import hashlib
import unicodedata

MAX_LENGTH = 200
# Of a name that is too long, this much is kept; a digest of the whole keeps names with a common start apart.
KEPT = 183
# Invisible characters that get into a name by copying: byte order mark, zero-width space, word joiner, soft hyphen, and
# direction marks, which could make one name look like another. Joiners stay: emoji and some scripts need them.
_INVISIBLE = "\ufeff\u200b\u2060\u00ad\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# Control characters, halves of characters, line and paragraph separators.
_UNSTORABLE = ("Cc", "Cs", "Zl", "Zp")


def agent_name(text: str) -> str:
    """The name under which an agent is stored, of at most 200 characters; empty if nothing of it can be seen.

    Spaces of every kind become plain ones, invisible characters are dropped, and what cannot be stored is written as
    its escape, such as `\\x00`.
    """
    if text.isascii() and text.isprintable() and len(text) <= MAX_LENGTH:
        return text.strip()
    seen = "".join(letter for letter in text if letter not in _INVISIBLE).strip()
    return _shortened("".join(map(_written, seen)).strip())


def _written(letter: str) -> str:
    kind = unicodedata.category(letter)
    if kind == "Zs":
        return " "
    return letter.encode("unicode_escape").decode() if kind in _UNSTORABLE else letter


def _shortened(name: str) -> str:
    if len(name) <= MAX_LENGTH:
        return name
    return f"{name[:KEPT]}…{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}"
