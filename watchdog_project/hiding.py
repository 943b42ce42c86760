"""Keeps secrets out of logs and error reports: token paths, keys, passwords, and all contents of a request."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from agents.domain.redaction import HIDDEN, redacted

# What follows in these paths signs somebody in, joins a team, acts on an incident, sends heartbeats, names a webhook,
# or opens a page or calendar for those who have the link.
_TOKEN_PATHS: Final = re.compile(
    r"(/(?:accounts/(?:sign-in|invitation|confirm-email|password/reset/key)|alerts/(?:act|leave)|on-call|ping|status"
    r"|badge|hooks/(?:alertmanager|github|gitlab|sentry))/)[^\s/?\"'<>]+"
)
_QUERY: Final = re.compile(r"(?<=[\w/])\?[^\s\"'<>]+")
# Fields of a log line or a report whose whole value is a secret.
_SECRET_FIELDS: Final = re.compile(r"(?i)(^|[_-])(password|secret|token|api[_-]?key|authorization|cookie|session_?id)$")
# What an error report may say of the request.
_REQUEST: Final = ("method", "url")


def hidden(text: str) -> str:
    """The text without token paths and what is likely a secret."""
    return redacted(_TOKEN_PATHS.sub(r"\1…", text))


def hide_secrets(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: hide secrets in every text of a line, also inside of lists and objects."""
    event.update(_scrubbed(dict(event)))
    return event


class NoTracebackOfRefusals(logging.Filter):
    """A refused request is no bug: its line needs no traceback. Django adds one to each 403 and suspicious request."""

    def filter(self, record: logging.LogRecord) -> bool:
        is_refusal = getattr(record, "status_code", 500) < 500 or record.name.startswith("django.security")
        if is_refusal:
            record.exc_info = record.exc_text = None
        return True


def scrub(event: dict[str, Any], hint: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """For Sentry's `before_send`: keep method and path of the request, and no secret in any text."""
    request = event.get("request")
    if isinstance(request, dict):
        event["request"] = {name: _QUERY.sub("", str(request[name])) for name in _REQUEST if name in request}
    for name in ("user", "extra"):
        event.pop(name, None)
    scrubbed: dict[str, Any] = _scrubbed(event)
    return scrubbed


def _scrubbed(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {name: HIDDEN if _is_secret(name, part) else _scrubbed(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_scrubbed(part) for part in value]
    # Of anything else, an exception for example, the renderer would show the text.
    return hidden(value if isinstance(value, str) else str(value))


def _is_secret(name: Any, value: Any) -> bool:
    return isinstance(value, str) and value != "" and _SECRET_FIELDS.search(str(name)) is not None
