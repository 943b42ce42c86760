"""Keeps secrets out of logs and error reports: token paths, keys, passwords, and all contents of a request."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from agents.domain.redaction import redacted

# What follows in these paths signs somebody in, joins a team, acts on an incident, sends heartbeats, or opens a page or
# calendar for those who have the link.
_TOKEN_PATHS: Final = re.compile(
    r"(/(?:accounts/(?:sign-in|invitation|confirm-email|password/reset/key)|alerts/(?:act|leave)|on-call|ping|status"
    r"|badge)/)[^\s/?\"'<>]+"
)
_QUERY: Final = re.compile(r"(?<=[\w/])\?[^\s\"'<>]+")
# What an error report may say of the request.
_REQUEST: Final = ("method", "url")


def hidden(text: str) -> str:
    """The text without token paths and what is likely a secret."""
    return redacted(_TOKEN_PATHS.sub(r"\1…", text))


def hide_secrets(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: hide secrets in every text of a line."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = hidden(value)
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
    if isinstance(value, str):
        return hidden(value)
    if isinstance(value, dict):
        return {name: _scrubbed(part) for name, part in value.items()}
    return [_scrubbed(part) for part in value] if isinstance(value, list) else value
