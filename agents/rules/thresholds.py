"""The numbers a rule compares with, which people may set per project and per agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# A threshold whose name ends in this is one number per tool: `budget:TOOL`.
PER_TOOL: Final = ":TOOL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A number that people may set for a project or an agent.

    kind: int, float or bool. default: None if something else decides. why: one sentence about the default.
    column: it is an agent setting of this name, which is not stored among the agent's `rules`.
    """

    name: str
    kind: type[int] | type[float] | type[bool]
    default: float | None = None
    unit: str = ""
    minimum: float
    maximum: float
    why: str
    column: bool = False

    @property
    def per_tool(self) -> bool:
        return self.name.endswith(PER_TOOL)


Thresholds = tuple[Threshold, ...]
