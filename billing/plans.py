"""What each plan allows. Pure data: no Django, no clock.

Agents, history and requests a minute are those of the published service; the rest is ours.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Plan:
    """What a team may use. `None` means without limit."""

    key: str
    label: str
    agents: int | None
    history_days: int
    requests_per_minute: int
    members: int | None
    projects: int | None
    channels: int | None


ALL: Final = (
    Plan("free", "Free", 3, 7, 200, members=3, projects=3, channels=3),
    Plan("starter", "Starter", 20, 30, 500, members=10, projects=10, channels=20),
    Plan("pro", "Pro", 100, 90, 1_000, members=50, projects=50, channels=100),
    Plan("enterprise", "Enterprise", None, 365, 10_000, members=None, projects=None, channels=None),
)
BY_KEY: Final[dict[str, Plan]] = {plan.key: plan for plan in ALL}
