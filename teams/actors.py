"""Who an audit entry or incident event names as its author when it was not a person. Pure: no Django, no clock."""

from typing import Final

# The server itself: its detector, its sweeps and its plan limits.
WATCHDOG: Final = "watchdog"
# A runner is stored as `runner:KEY/ADDRESS[/NAME]`.
RUNNER: Final = "runner:"


def shown(actor: str) -> str:
    """An author as people read it: a runner without the number of its key."""
    if not actor.startswith(RUNNER):
        return actor
    _, _, place = actor.removeprefix(RUNNER).partition("/")
    address, _, name = place.partition("/")
    return " ".join(filter(None, ("runner", name, f"at {address}" if address else "")))
