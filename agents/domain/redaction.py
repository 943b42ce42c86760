"""Removes secrets from free text before it is shown as evidence. Names are never changed. Pure.

The SDK has the same rules in `clevagent/redact.py`, and applies them before a text leaves the agent's machine.
"""

from __future__ import annotations

import json
import re
import string
from itertools import pairwise
from typing import Any, Final

HIDDEN: Final = "[hidden]"
# Vendors' formats that no word has: a prefix and an unbroken run, as long as in the shortest key of that kind.
_SHAPES: Final = re.compile(
    r"""(?<![A-Za-z0-9])(?:
      (?:cv_|gh[pousr]_|hf_|npm_|(?:sk|pk|rk)_(?:live|test)_)[A-Za-z0-9]{16,} | whsec_[A-Za-z0-9+/=]{16,}
    | github_pat_[A-Za-z0-9_]{22,} | AIza(?=[A-Za-z_\-]{0,30}[0-9])[A-Za-z0-9_\-]{30,}
    | (?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])
    ) | (?<=://)[^\s/:@]+:[^\s/@]+(?=@)
    | (?<=Bearer\ )[A-Za-z0-9._~+/=\-]{8,}""",
    re.VERBOSE,
)
# A JSON web token. A run without dots matches as a whole: else each `eyJ` in it would search the rest again.
_JWT: Final = re.compile(r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_\-]{8,}(\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*)?")
# Formats that words may have, too: `sk-learn-trainer-01`. Only one with a random part is a key.
_MAYBE: Final = re.compile(
    r"""(?<![A-Za-z0-9])(?:
      sk- | gl(?:pat|rt)- | glsa_ | xox[abeprs]- | xapp- | pypi- | gsk_ | r8_ | pplx- | xai- | tvly- | nvapi- | lsv2_
    | dckr_pat_ | dop_v1_ | ya29\. | SG\.
    )(?:[A-Za-z0-9_\-]|\.(?=[A-Za-z0-9])){16,}""",
    re.VERBOSE,
)
_NAMED: Final = re.compile(
    r"""(?i)(
        (?: api[_-]?key | secret | passw(?:or)?d | authorization
          | (?:access|auth|refresh|session|bearer|bot|user|id)[_-]?token | (?<![\w\-])token(?=["'=])
        )["']?\s*[=:]\s*["']?)(?!\[hidden\])[^\s"',;)}&]{4,}""",
    re.VERBOSE,
)
# Other tokens only when they look like one: "Unexpected token: identifier" and `page_token=next` are no secrets.
_TOKEN: Final = re.compile(r"""(?i)(token["']?\s*[=:]\s*["']?)(?!\[hidden\])([^\s"',;)}&]{8,})""")
# What secrets consist of.
_RUN: Final = string.ascii_letters + string.digits + "+/=_-.~%"
_PIECE: Final = re.compile(r"[A-Za-z0-9]+")
MIN_RANDOM_LENGTH: Final = 16
MIN_WORDLESS_LENGTH: Final = 20
MIN_SECRET_LENGTH: Final = 8
# Fields whose texts are names.
NAMES: Final = frozenset({"name", "tool", "model", "provider", "labels", "instance", "sdk"})


def redacted(text: str) -> str:
    """The text without anything that is likely a key, a token or a password."""
    shaped = _SHAPES.sub(HIDDEN, _JWT.sub(lambda found: HIDDEN if found[1] else found[0], text))
    known = _MAYBE.sub(lambda found: HIDDEN if is_random(found[0]) else found[0], shaped)
    named = _NAMED.sub(rf"\1{HIDDEN}", known)
    return _TOKEN.sub(lambda found: found[1] + HIDDEN if _is_token(found[2]) else found[0], named)


def redacted_in(value: Any) -> Any:
    """The value, as JSON has it, with every text in it redacted but names."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {name: part if name in NAMES else redacted_in(part) for name, part in value.items()}
    return [redacted_in(part) for part in value] if isinstance(value, list) else value


def redacted_beginning(text: str, cut: str) -> str:
    """As `redacted`, for a text that ends with `cut` if it goes on: half a secret no longer looks like one."""
    return redacted(text.removesuffix(cut).rstrip(_RUN)) + cut if text.endswith(cut) else redacted(text)


def is_random(text: str) -> bool:
    """Whether a part of at least 16 letters and digits looks random: words have no digits and change case less."""
    return any(_has_digits(piece) or _is_no_word(piece) for piece in _long_pieces(text))


def _long_pieces(text: str) -> list[str]:
    return [piece for piece in _PIECE.findall(text) if len(piece) >= MIN_RANDOM_LENGTH]


def _has_digits(piece: str) -> bool:
    return not piece.isalpha() and not piece.isdecimal()


def _is_no_word(piece: str) -> bool:
    """Too long for a single word, or the case changes more often than in CamelCase, which is twice per word."""
    changes = sum(before.isupper() != after.isupper() for before, after in pairwise(piece))
    return len(piece) >= MIN_WORDLESS_LENGTH if not changes else changes > len(piece) * 0.35


def _is_token(value: str) -> bool:
    pieces = _PIECE.findall(value)
    return any(
        len(piece) >= MIN_RANDOM_LENGTH or (len(piece) >= MIN_SECRET_LENGTH and _has_digits(piece)) for piece in pieces
    )


def last_lines_of(custom: str, longest: int) -> str:
    """The end of the log that a runner sent in a heartbeat's custom data, redacted; empty if it sent none."""
    data = _decoded(custom)
    return _end_of(data.get("last_lines") if isinstance(data, dict) else None, longest)


def traceback_of(custom: str, longest: int) -> str:
    """The traceback in a heartbeat's custom data, redacted; its last `longest` characters, where the cause is.

    Clients send JSON with a `traceback`; anything that is not JSON is taken as the traceback itself.
    """
    data = _decoded(custom)
    if isinstance(data, dict):
        return _end_of(data.get("traceback"), longest)
    return _end_of(custom if data is custom else None, longest)


def _decoded(custom: str) -> Any:
    """The text itself if it is no JSON."""
    try:
        return json.loads(custom)
    except ValueError:
        return custom


def _end_of(text: Any, longest: int) -> str:
    return redacted(text).strip()[-longest:] if isinstance(text, str) else ""
