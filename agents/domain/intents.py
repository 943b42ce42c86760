"""Why a target is not running: nothing automatic undoes what was done on purpose. Pure: no Django, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# Someone stopped it: our button, `docker stop`, `systemctl stop`.
STOPPED: Final = "stopped"
# It ended without an error.
FINISHED: Final = "finished"
# It may have been stopped: its supervisor no longer knows.
UNKNOWN: Final = "unknown"
ON_PURPOSE: Final = (STOPPED, FINISHED)
# What no automatic restart may undo.
HOLDS: Final = (*ON_PURPOSE, UNKNOWN)

# How runners without the field `intent` say it.
_PHRASES: Final = ("it was stopped or has finished", "stopped by someone, or finished", "Stopped on request")
# Exit codes of a finished process, and of one ended by SIGINT or SIGTERM, which systemd considers a clean exit too;
# negative from the parent of the process.
_CLEAN_CODES: Final = (0, 130, 143, -2, -15)


def intent_of(declared: str | None, message: str, evidence: Mapping[str, Any]) -> str | None:
    """The intent of a runner's report that its target is not running; None: it failed."""
    if declared:
        return declared if declared in HOLDS else None
    if any(phrase in message for phrase in _PHRASES) or _is_clean(evidence):
        return STOPPED
    return None


def _is_clean(evidence: Mapping[str, Any]) -> bool:
    if evidence.get("ActiveState") == "inactive":
        return bool(evidence.get("Result", "success") == "success")
    if evidence.get("replicas") == 0:
        return True
    code = evidence.get("ExitCode", evidence.get("last_exit_code"))
    return evidence.get("Status", "exited") == "exited" and code in _CLEAN_CODES
