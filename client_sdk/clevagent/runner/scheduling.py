"""Delays between requests to the server."""

from __future__ import annotations

import random
from dataclasses import dataclass

# Each delay varies by this share, so that many runners do not return at the same moment.
JITTER = 0.2


@dataclass
class RetryDelay:
    """Delays in seconds: `normal` after success, doubling up to `maximum` after failures, at least `Retry-After`."""

    normal: float
    maximum: float
    failures: int = 0

    def next(self, well: bool, retry_after: float | None = None) -> float:
        """Return the delay after an attempt."""
        if well:
            self.failures = 0
            return self.normal
        wait = min(self.maximum, self.normal * float(2 ** min(self.failures, 16)))
        self.failures += 1
        return max(wait * random.uniform(1 - JITTER, 1 + JITTER), retry_after or 0.0)  # noqa: S311 - not a secret
