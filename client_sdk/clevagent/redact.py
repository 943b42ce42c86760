"""Removes secrets from free texts before they leave the machine. Names are never changed, so that they stay distinct.

The server has the same rules in `agents/domain/redaction.py`. Pure, except that it reads the environment.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

HIDDEN = "[hidden]"
# Vendors' formats that no word has: a prefix and an unbroken run, as long as in the shortest key of that kind.
_SHAPES = re.compile(
    r"""(?<![A-Za-z0-9])(?:
      (?:cv_|gh[pousr]_|hf_|npm_|(?:sk|pk|rk)_(?:live|test)_)[A-Za-z0-9]{16,} | whsec_[A-Za-z0-9+/=]{16,}
    | github_pat_[A-Za-z0-9_]{22,} | AIza(?=[A-Za-z_\-]{0,30}[0-9])[A-Za-z0-9_\-]{30,}
    | (?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])
    ) | (?<=://)[^\s/:@]+:[^\s/@]+(?=@)
    | (?<=Bearer\ )[A-Za-z0-9._~+/=\-]{8,}""",
    re.VERBOSE,
)
# A JSON web token. A run without dots matches as a whole: else each `eyJ` in it would search the rest again.
_JWT = re.compile(r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_\-]{8,}(\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*)?")
# Formats that words may have, too: `sk-learn-trainer-01`. Only one with a random part is a key.
_MAYBE = re.compile(
    r"""(?<![A-Za-z0-9])(?:
      sk- | gl(?:pat|rt)- | glsa_ | xox[abeprs]- | xapp- | pypi- | gsk_ | r8_ | pplx- | xai- | tvly- | nvapi- | lsv2_
    | dckr_pat_ | dop_v1_ | ya29\. | SG\.
    )(?:[A-Za-z0-9_\-]|\.(?=[A-Za-z0-9])){16,}""",
    re.VERBOSE,
)
_NAMED = re.compile(
    r"""(?i)(
        (?: api[_-]?key | secret | passw(?:or)?d | authorization
          | (?:access|auth|refresh|session|bearer|bot|user|id)[_-]?token | (?<![\w\-])token(?=["'=])
        )["']?\s*[=:]\s*["']?)(?!\[hidden\])[^\s"',;)}&]{4,}""",
    re.VERBOSE,
)
# Other tokens only when they look like one: "Unexpected token: identifier" and `page_token=next` are no secrets.
_TOKEN = re.compile(r"""(?i)(token["']?\s*[=:]\s*["']?)(?!\[hidden\])([^\s"',;)}&]{8,})""")
_PIECE = re.compile(r"[A-Za-z0-9]+")
MIN_RANDOM_LENGTH = 16
MIN_WORDLESS_LENGTH = 20
# Variables whose values are secrets, unless their name says that they only tell where or which one it is.
_SECRET_NAME = re.compile(r"(?i)(?:token|secret|passw(?:or)?d|passphrase|credentials?|api_?key|access_?key)(?:_|\d|$)")
_KEY_NAME = re.compile(r"(?i)(?:^|_)key(?:_|\d|$)")
_NO_SECRET_NAME = re.compile(r"(?i)_(?:path|file|dir|name|id|url|uri|type|model|limit|arn|format)$")
MIN_SECRET_LENGTH = 8
MAX_TRACEBACK_LENGTH = 16_000


def redacted(text: str) -> str:
    """Return the text without anything that is likely a key, a token or a password."""
    shaped = _SHAPES.sub(HIDDEN, _JWT.sub(lambda found: HIDDEN if found[1] else found[0], text))
    known = _MAYBE.sub(lambda found: HIDDEN if is_random(found[0]) else found[0], shaped)
    named = _NAMED.sub(rf"\1{HIDDEN}", known)
    return _TOKEN.sub(lambda found: found[1] + HIDDEN if _is_token(found[2]) else found[0], named)


def is_random(text: str) -> bool:
    """Whether a part of at least 16 letters and digits looks random: words have no digits and change case less."""
    return any(_has_digits(piece) or _is_no_word(piece) for piece in _long_pieces(text))


def _long_pieces(text: str) -> list[str]:
    return [piece for piece in _PIECE.findall(text) if len(piece) >= MIN_RANDOM_LENGTH]


def _has_digits(piece: str) -> bool:
    return not piece.isalpha() and not piece.isdecimal()


def _is_no_word(piece: str) -> bool:
    """Too long for a single word, or the case changes more often than in CamelCase, which is twice per word."""
    changes = sum(before.isupper() != after.isupper() for before, after in zip(piece, piece[1:]))
    return len(piece) >= MIN_WORDLESS_LENGTH if not changes else changes > len(piece) * 0.35


def _is_token(value: str) -> bool:
    pieces = _PIECE.findall(value)
    return any(
        len(piece) >= MIN_RANDOM_LENGTH or (len(piece) >= MIN_SECRET_LENGTH and _has_digits(piece)) for piece in pieces
    )


def storable(text: Any, longest: int) -> str:
    """Return a name the server can store: no NUL, no half characters, not too long. Otherwise unchanged."""
    return text_of(text)[:longest].replace("\0", "").encode("utf-8", "replace").decode()


def clean(text: Any, longest: int) -> str:
    """Return a free text the server can store, without secrets."""
    # Cut first, with a margin: searching megabytes for secrets takes too long.
    return redacted(storable(text, longest * 4))[:longest]


def text_of(value: Any) -> str:
    """Return `str(value)`, or its type's name if that fails: a program's own `__str__` may raise anything."""
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"


def without_values(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the text without values of environment variables whose names suggest a secret."""
    secrets = {value for name, value in environment.items() if _is_secret(name, value)}
    for value in sorted(secrets, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text


def _is_secret(name: str, value: str) -> bool:
    if len(value) < MIN_SECRET_LENGTH or _NO_SECRET_NAME.search(name) or value.startswith(("/", "~/", "./")):
        return False
    return bool(_SECRET_NAME.search(name)) or (bool(_KEY_NAME.search(name)) and is_random(value))


def traceback_of(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> str:
    """Return the redacted traceback. A long one keeps its end, which names the cause."""
    text = "".join(traceback.format_exception(kind, error, trace))
    return redacted(without_values(text))[-MAX_TRACEBACK_LENGTH:]
