"""Entries of the audit log as JSON lines, for people who download them and for programs that collect them."""

from __future__ import annotations

import json
from typing import Any

from teams.models import AuditEntry


def as_dict(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": entry.pk,
        "at": entry.at.isoformat().replace("+00:00", "Z"),
        "team": {"id": entry.team_id, "name": entry.team.name},
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "object": entry.of,
        "data": entry.data,
    }


def line(entry: AuditEntry) -> str:
    """One line, with its end. Expects `team` to be loaded."""
    return json.dumps(as_dict(entry), ensure_ascii=False, separators=(",", ":"), default=str) + "\n"
