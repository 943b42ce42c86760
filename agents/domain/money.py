"""Money: whole micro-dollars inside, dollars for people. Pure."""

from __future__ import annotations

from typing import Final

MICRO: Final = 1_000_000
CENT: Final = MICRO // 100


def dollars(micros: int) -> str:
    """Micro-dollars as text: `$1,234.50`. Amounts below a cent keep as many digits as they need."""
    if 0 < abs(micros) < CENT:
        return f"${micros / MICRO:.6f}".rstrip("0")
    return f"${micros / MICRO:,.2f}"
