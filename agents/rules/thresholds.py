"""The numbers a rule works with, which people may set per project and per agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Thresholds with this at the end of their name are one number for each tool: `budget:TOOL`.
PER_TOOL: Final = ":TOOL"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A number that people may set for a project or an agent; `why` is one sentence about its default.

    `kind` is int, float or bool. A default of None is no number: `why` says what decides then. `column` says that an
    agent has a setting of this name of its own, which is not kept among its `rules`.
    """

    name: str
    kind: type[int] | type[float] | type[bool]
    default: float | None
    unit: str
    least: float
    most: float
    why: str
    column: bool = False

    @property
    def per_tool(self) -> bool:
        return self.name.endswith(PER_TOOL)


Thresholds = tuple[Threshold, ...]
