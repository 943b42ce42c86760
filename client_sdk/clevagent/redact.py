"""Removes secrets from texts before they leave the machine. Pure, except that it reads the environment."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

HIDDEN = "[hidden]"
# Key formats of known vendors, and words that precede a secret in a text or an address.
_SHAPES = re.compile(
    r"""\b(?:sk|pk|rk|cv|ghp|gho|ghs|github_pat|glpat|xox[abprs]|hf|AKIA|ASIA|AIza|whsec)[-_]?[A-Za-z0-9_\-]{12,}
    | (?<=://)[^\s/:@]+:[^\s/@]+(?=@)
    | (?<=Bearer\ )[A-Za-z0-9._~+/=\-]{8,}
    | \beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*""",
    re.VERBOSE,
)
_NAMED = re.compile(
    r"""(?i)((?:api[_-]?key|secret|token|passw(?:or)?d|authorization)["']?\s*[=:]\s*["']?)(?!\[hidden\])[^\s"',;)}&]{4,}"""
)
_SECRET_NAME = re.compile(r"(?i)key|token|secret|passw|credential")
MIN_SECRET_LENGTH = 8
MAX_TRACEBACK_LENGTH = 16_000


def redacted(text: str) -> str:
    """Return the text without anything that looks like a key, a token or a password."""
    return _NAMED.sub(rf"\1{HIDDEN}", _SHAPES.sub(HIDDEN, text))


def clean(text: Any, longest: int) -> str:
    """Return a text the server can store: no secrets, NUL or lone surrogates, and not too long."""
    # Cut first, with a margin: searching megabytes for secrets takes too long.
    whole = str(text)[: longest * 4].replace("\0", "")
    return redacted(whole.encode("utf-8", "replace").decode())[:longest]


def without_values(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the text without values of environment variables whose names suggest a secret."""
    secrets = {
        value for name, value in environment.items() if _SECRET_NAME.search(name) and len(value) >= MIN_SECRET_LENGTH
    }
    for value in sorted(secrets, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text


def traceback_of(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> str:
    """Return the redacted traceback. A long one keeps its end, which names the cause."""
    text = "".join(traceback.format_exception(kind, error, trace))
    return redacted(without_values(text))[-MAX_TRACEBACK_LENGTH:]
