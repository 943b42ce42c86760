"""How pages say numbers, money and evidence; `teams/times.py` says times. Pure: no Django, no clock.

Durations are seconds, money is whole micro-dollars, times are aware.
"""

from __future__ import annotations

from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any, Final

from agents.budgets import Spend
from teams.times import duration, exact

# Shorter than this many seconds, tenths are told.
_BRIEF: Final = 10
_MICRO: Final = 1_000_000


def short(seconds: float) -> str:
    """As `duration`, but of what takes less than ten seconds more exactly: `340 ms`, `2.5 s`."""
    if seconds >= _BRIEF:
        return duration(seconds)
    return f"{seconds:.1f} s" if seconds >= 1 else f"{max(0.0, seconds) * 1000:.0f} ms"


def due(at: datetime, now: datetime) -> str:
    """`due in 34 s` before a moment, `12 min overdue` after it."""
    left = (at - now).total_seconds()
    return f"due in {duration(left)}" if left >= 0 else f"{duration(-left)} overdue"


def money(micros: int) -> str:
    """`$1,234.50`; under a cent with as many places as it needs."""
    if 0 < abs(micros) < 10_000:
        return f"${micros / _MICRO:.6f}".rstrip("0")
    return f"${micros / _MICRO:,.2f}"


def spend(spent: Spend, budget: Decimal | None = None) -> str:
    """`$84.00 of $100.00: $70.00 priced by the server, $14.00 as reported`, and tokens that are in none of it."""
    of = "" if budget is None else f" of {money(int(budget * _MICRO))}"
    parts = f": {money(spent.priced)} priced by the server, {money(spent.reported)} as reported" if spent.cost else ""
    rest = f"; {spent.unpriced:,} tokens have no known price and come on top" if spent.unpriced else ""
    return f"{money(spent.cost)}{of}{parts}{rest}"


def count(number: int) -> str:
    """`950`, `12,400`, `1.2 M`."""
    return f"{number:,}" if abs(number) < _MICRO else f"{number / _MICRO:,.1f} M"


def label(name: str) -> str:
    """A name from evidence as people read it: `last_heartbeat_at` is `Last heartbeat`."""
    plain = name.removesuffix("_at").removesuffix("_usd").replace("_", " ")
    # Names like NRestarts are known as they are.
    return plain.capitalize() if plain.islower() else plain


def rows(evidence: dict[str, Any], zone: tzinfo) -> list[tuple[str, str]]:
    """Evidence as label and text, without what is empty; of what a runner saw, each part by itself."""
    own = [(name, value) for name, value in evidence.items() if name not in ("runner", "budgets")]
    facts = [*own, *(evidence.get("runner") or {}).items()]
    return [(label(name), said(name, value, zone)) for name, value in facts if value not in (None, "", [], {})]


def said(name: str, value: Any, zone: tzinfo) -> str:
    """One value of evidence: its name tells whether it is a time (`_at`), money (`_usd`) or seconds (`_gap`)."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(part) for part in value)
    if isinstance(value, str) and (name.endswith("_at") or name == "deadline"):
        return _moment(value, zone)
    if not isinstance(value, int | float):
        return str(value)
    if name.endswith("_usd"):
        return money(round(value * _MICRO))
    return duration(value) if name in ("interval", "timeout") or name.endswith("_gap") else f"{value:,}"


def _moment(text: str, zone: tzinfo) -> str:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    return exact(at, zone) if at.tzinfo else text
