"""Removes what looks like a secret from text before it is shown as evidence. Pure."""

from __future__ import annotations

import json
import re
from typing import Final

HIDDEN: Final = "[hidden]"
# Vendors' key formats; credentials before the @ of a URL; bearer tokens; JSON web tokens.
_SHAPES = re.compile(
    r"\b(?:sk|pk|rk|cv|ghp|gho|ghs|github_pat|glpat|xox[abprs]|hf|AKIA|ASIA|AIza|whsec)[-_]?[A-Za-z0-9_\-]{12,}"
    r"|(?<=://)[^\s/:@]+:[^\s/@]+(?=@)|(?<=Bearer )[A-Za-z0-9._~+/=\-]{8,}"
    r"|\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*"
)
_NAMED = re.compile(
    r"(?i)((?:api[_-]?key|secret|token|passw(?:or)?d|authorization)[\"']?\s*[=:]\s*[\"']?)(?!\[hidden\])[^\s\"',;)}&]{4,}"
)


def redacted(text: str) -> str:
    """The text without anything that looks like a key, a token or a password."""
    return _NAMED.sub(rf"\1{HIDDEN}", _SHAPES.sub(HIDDEN, text))


def traceback_of(custom: str, longest: int) -> str:
    """The traceback in a heartbeat's custom data, redacted; its last `longest` characters, where the cause is.

    Clients send JSON with a `traceback`; anything that is not JSON is taken as the traceback itself.
    """
    try:
        data = json.loads(custom)
    except ValueError:
        data = {"traceback": custom}
    text = data.get("traceback") if isinstance(data, dict) else None
    if not isinstance(text, str):
        return ""
    return redacted(text).strip()[-longest:]
