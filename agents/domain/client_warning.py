"""One warning a client is given, and the short text under which it is stored. Pure.

The hot row keeps open warnings as `[[key, reason], ...]` and the keys the client already got as words in one column,
so a key holds no spaces.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from agents.domain import signal_kinds

SEPARATOR: Final = ":"


class ClientWarning(NamedTuple):
    """A signal to warn the client about. `budget` tells a raised budget that is exceeded again from the first one."""

    incident_id: int
    kind: str
    signal_id: int
    budget: str = ""

    @property
    def is_loop(self) -> bool:
        return self.kind == signal_kinds.LOOP

    def encode(self) -> str:
        """`INCIDENT:KIND:SIGNAL`, followed by `:BUDGET` if there is one."""
        key = f"{self.incident_id}{SEPARATOR}{self.kind}{SEPARATOR}{self.signal_id}"
        return f"{key}{SEPARATOR}{self.budget}" if self.budget else key

    @classmethod
    def decode(cls, key: str) -> ClientWarning:
        """Raises ValueError for a text that `encode` did not write."""
        incident_id, kind, signal_id, *budget = key.split(SEPARATOR, 3)
        return cls(int(incident_id), kind, int(signal_id), *budget)
