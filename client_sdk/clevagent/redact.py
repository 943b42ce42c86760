"""Takes secrets out of texts before they leave the machine. Pure but for reading the environment's values."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

HIDDEN = "[hidden]"
# Shapes that vendors give their keys, and the words that stand before a secret in a text or an address.
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
    """The text without what looks like a key, a token or a password."""
    return _NAMED.sub(rf"\1{HIDDEN}", _SHAPES.sub(HIDDEN, text))


def clean(text: Any, longest: int) -> str:
    """A text that can be stored: no secrets, no NUL, no half characters, not too long."""
    # Cut generously first: looking for secrets in megabytes would take time.
    whole = str(text)[: longest * 4].replace("\0", "")
    return redacted(whole.encode("utf-8", "replace").decode())[:longest]


def without_values(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The text without the values of environment variables whose names say that they are secret."""
    secrets = {
        value for name, value in environment.items() if _SECRET_NAME.search(name) and len(value) >= MIN_SECRET_LENGTH
    }
    for value in sorted(secrets, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text


def traceback_of(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> str:
    """The traceback as Python prints it, redacted; of a long one the end, where the cause stands."""
    text = "".join(traceback.format_exception(kind, error, trace))
    return redacted(without_values(text))[-MAX_TRACEBACK_LENGTH:]
