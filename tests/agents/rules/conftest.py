"""Facts about an agent with which nothing is wrong."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from agents.rules.facts import Facts


def quiet_facts(now: datetime, row: Any = None, **fields: Any) -> Facts:
    """Its row is only needed by rules that read it."""
    return Facts(**{"now": now, "row": row, "interval": 60, "today": now.date(), **fields})
