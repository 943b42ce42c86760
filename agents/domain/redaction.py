"""Takes what looks like a secret out of texts of old clients, before they are shown as evidence. Pure."""

from __future__ import annotations

import json
import re
from typing import Final

HIDDEN: Final = "[hidden]"
# Shapes that vendors give their keys; what stands before the @ of an address; words that stand before a secret.
_SHAPES = re.compile(
    r"\b(?:sk|pk|rk|cv|ghp|gho|ghs|github_pat|glpat|xox[abprs]|hf|AKIA|ASIA|AIza|whsec)[-_]?[A-Za-z0-9_\-]{12,}"
    r"|(?<=://)[^\s/:@]+:[^\s/@]+(?=@)|(?<=Bearer )[A-Za-z0-9._~+/=\-]{8,}"
    r"|\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*"
)
_NAMED = re.compile(
    r"(?i)((?:api[_-]?key|secret|token|passw(?:or)?d|authorization)[\"']?\s*[=:]\s*[\"']?)(?!\[hidden\])[^\s\"',;)}&]{4,}"
)


def redacted(text: str) -> str:
    """The text without what looks like a key, a token or a password."""
    return _NAMED.sub(rf"\1{HIDDEN}", _SHAPES.sub(HIDDEN, text))


def traceback_of(custom: str, longest: int) -> str:
    """The traceback among a heartbeat's custom data, redacted; of a long one the end, where the cause stands.

    Clients send JSON with `traceback`; what is no JSON is taken as it is.
    """
    try:
        found = json.loads(custom)
    except ValueError:
        found = {"traceback": custom}
    text = found.get("traceback") if isinstance(found, dict) else None
    if not isinstance(text, str):
        return ""
    return redacted(text).strip()[-longest:]
