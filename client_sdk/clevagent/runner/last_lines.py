"""The last lines of a failed target's log, without secrets, as `custom_data` of the heartbeat that reports it."""

from __future__ import annotations

import json
import logging

from clevagent.redact import redacted, storable, without_values

from . import backends
from .backends.base import Logged
from .target import Target

log = logging.getLogger(__name__)

MAX_LENGTH = 4_000


def of(target: Target, timeout: float) -> str:
    """Return JSON with `last_lines`, or "" if its backend knows no log, or the log is empty or unreadable."""
    backend = backends.of(target.type)
    if not (target.send_log and isinstance(backend, Logged)):
        return ""
    try:
        text = backend.last_lines(target, timeout)
    except Exception:
        log.exception("The log of %s could not be read", target, extra={"target": target})
        return ""
    # Cut last, or the first half of a secret could escape its own detection.
    kept = redacted(without_values(storable(text[-4 * MAX_LENGTH :], 4 * MAX_LENGTH))).strip()[-MAX_LENGTH:]
    return json.dumps({"last_lines": kept}) if kept else ""
