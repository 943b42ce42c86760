"""Who an audit entry or incident event names as its author when it was not a person. Pure: no Django, no clock."""

from typing import Final

# The server itself: its detector, its sweeps and its plan limits.
WATCHDOG: Final = "watchdog"
