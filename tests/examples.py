"""How many examples a property test tries: few in the suite, and EXAMPLES times as many in a long search."""

from __future__ import annotations

import os

TIMES = int(os.environ.get("EXAMPLES", "1"))


def examples(usual: int) -> int:
    """Return `usual`, or a multiple of it if the environment variable EXAMPLES says so."""
    return usual * TIMES
