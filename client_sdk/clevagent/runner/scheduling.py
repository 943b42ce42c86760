"""How long to wait before the server is asked again."""

from __future__ import annotations

import random
from dataclasses import dataclass

# A share by which each wait varies, so that many runners do not come back at the same moment.
JITTER = 0.2


@dataclass
class Pace:
    """Waits in seconds: `usual` while all is well, then doubling up to `most`; a `Retry-After` is never undercut."""

    usual: float
    most: float
    failures: int = 0

    def after(self, well: bool, retry_after: float | None = None) -> float:
        """The wait after a try that went well or did not."""
        if well:
            self.failures = 0
            return self.usual
        wait = min(self.most, self.usual * float(2 ** min(self.failures, 16)))
        self.failures += 1
        return max(wait * random.uniform(1 - JITTER, 1 + JITTER), retry_after or 0.0)  # noqa: S311 - no secret
