"""Who did something, for people. Pure."""

from __future__ import annotations

from typing import Final

RUNNER: Final = "runner:"


def shown(actor: str) -> str:
    """A person's address or "watchdog" as it is. A runner is stored as `runner:KEY/ADDRESS[/NAME]`."""
    if not actor.startswith(RUNNER):
        return actor
    _, _, place = actor.removeprefix(RUNNER).partition("/")
    address, _, name = place.partition("/")
    return " ".join(filter(None, ("runner", name, f"at {address}" if address else "")))
