"""What each plan allows. Pure data: no Django, no clock.

Agents, history and requests per minute are those of the retired hosted service; the other limits are new.
"""

from dataclasses import dataclass
from typing import Final

# Several times what frameworks send; one heartbeat may hold 256 KiB.
BYTES_PER_REQUEST: Final = 4_096


@dataclass(frozen=True, slots=True)
class Plan:
    """What a team may use. None means unlimited. `shortest_interval` is in seconds, at least 1."""

    key: str
    label: str
    agents: int | None
    history_days: int
    requests_per_minute: int
    members: int | None
    projects: int | None
    channels: int | None
    shortest_interval: float

    @property
    def bytes_per_day(self) -> int:
        """Of heartbeats' texts, calls and custom data: what the plan's requests hold at 4 KiB each."""
        return self.requests_per_minute * 1_440 * BYTES_PER_REQUEST


# The detector reviews an agent once per interval plus grace, so its load depends on the number of agents, and each plan
# limits that already: three agents that report every second cost half a review per second on Free, and their 180
# requests per minute fit its 200. So every plan has the API's minimum interval, and a dead agent is found as fast on a
# small plan as on a large one. An installation with open sign-up may raise the minimum here.
ALL: Final = (
    Plan("free", "Free", 3, 7, 200, members=3, projects=3, channels=3, shortest_interval=1),
    Plan("starter", "Starter", 20, 30, 500, members=10, projects=10, channels=20, shortest_interval=1),
    Plan("pro", "Pro", 100, 90, 1_000, members=50, projects=50, channels=100, shortest_interval=1),
    Plan(
        "enterprise", "Enterprise", None, 365, 10_000, members=None, projects=None, channels=None, shortest_interval=1
    ),
)
# The plan of the operator's own team.
UNLIMITED: Final = "enterprise"
BY_KEY: Final[dict[str, Plan]] = {plan.key: plan for plan in ALL}
