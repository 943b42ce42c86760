"""What each plan allows. Pure data: no Django, no clock.

Agents, history and requests a minute are those of the published service; the rest is ours.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Plan:
    """What a team may use. `None` means without limit. `shortest_interval` is in seconds, at least 1."""

    key: str
    label: str
    agents: int | None
    history_days: int
    requests_per_minute: int
    members: int | None
    projects: int | None
    channels: int | None
    shortest_interval: float


# A short interval costs the detector a look for each interval and its grace. What loads it is how many agents there
# are, and that every plan bounds already: Free's three, each second, are half a look a second, and their 180 requests
# a minute fit its 200. So the shortest interval is the API's, on every plan: a dead agent is found as soon on a small
# one. An installation that is open to everybody may ask for longer ones here.
ALL: Final = (
    Plan("free", "Free", 3, 7, 200, members=3, projects=3, channels=3, shortest_interval=1),
    Plan("starter", "Starter", 20, 30, 500, members=10, projects=10, channels=20, shortest_interval=1),
    Plan("pro", "Pro", 100, 90, 1_000, members=50, projects=50, channels=100, shortest_interval=1),
    Plan(
        "enterprise", "Enterprise", None, 365, 10_000, members=None, projects=None, channels=None, shortest_interval=1
    ),
)
BY_KEY: Final[dict[str, Plan]] = {plan.key: plan for plan in ALL}
