"""What a team's plan leaves room for. Asked by every app; the numbers are in `plans.py`."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.conf import settings
from django.db.models import Count, Sum
from django.utils import timezone

from billing import plans
from billing.models import Subscription
from teams.errors import ApiError
from teams.models import Invitation, Membership, Project, Team


def plan_of(team_id: int) -> plans.Plan:
    """The plan a team is on."""
    key = Subscription.objects.filter(team_id=team_id).values_list("plan", flat=True).first()
    return plans.BY_KEY[key or settings.DEFAULT_PLAN]


def agent_limit(team_id: int) -> int | None:
    """How many agents a team may have, over all its projects; None means without limit."""
    return plan_of(team_id).agents


def has_room(limit: int | None, used: int) -> bool:
    """Whether one more fits; `limit` None means without limit."""
    return limit is None or used < limit


@dataclass(frozen=True, slots=True)
class Usage:
    """What a team has of what its plan counts."""

    plan: plans.Plan
    agents: int
    members: int
    projects: int
    channels: int

    def rows(self) -> list[tuple[str, int, int | None]]:
        """What, how many, and how many at most (None: without limit)."""
        return [
            ("agents", self.agents, self.plan.agents),
            ("members", self.members, self.plan.members),
            ("projects", self.projects, self.plan.projects),
            ("channels", self.channels, self.plan.channels),
        ]


def usage_of(team_id: int) -> Usage:
    """Counted afresh. Agents are known here by their relation only: their app stands above this one."""
    agents = Team.objects.filter(pk=team_id).aggregate(n=Count("projects__agents"))["n"]
    members = Membership.objects.filter(team_id=team_id).count()
    projects = Project.objects.filter(team_id=team_id).count()
    channels = Team.objects.filter(pk=team_id).aggregate(n=Count("projects__channels"))["n"]
    return Usage(plan_of(team_id), agents, members, projects, channels)


# A span of roll-ups, as the app above this one writes it.
DAY = "d"


@dataclass(frozen=True, slots=True)
class DayOfUse:
    """What a team's agents sent on one day (UTC)."""

    day: date
    agents: int
    heartbeats: int


def history(team_id: int, now: datetime, days: int = 30) -> list[DayOfUse]:
    """The last days, oldest first, those without a heartbeat, too. From daily sums."""
    first = (now - timedelta(days=days - 1)).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    spans = Team.objects.filter(
        pk=team_id, projects__agents__rollups__span=DAY, projects__agents__rollups__start__gte=first
    )
    sums = spans.values_list("projects__agents__rollups__start").annotate(
        Count("projects__agents", distinct=True), Sum("projects__agents__rollups__beats")
    )
    found = {start.astimezone(UTC).date(): (agents, beats) for start, agents, beats in sums}
    dates = [first.date() + timedelta(days=number) for number in range(days)]
    return [DayOfUse(one, *found.get(one, (0, 0))) for one in dates]


def without_place(team_id: int) -> list[str]:
    """Agents that the plan has no place for since it became smaller: by name."""
    agents = Team.objects.filter(pk=team_id, projects__agents__over_plan_at__isnull=False)
    return list(agents.order_by("projects__agents__name").values_list("projects__agents__name", flat=True))


def require_room(*, team_id: int, what: str, now: datetime | None = None) -> None:
    """Raise 403 when the plan allows no more `projects` or `members`; open `invitations` count as members to be."""
    plan = plan_of(team_id)
    if what == "projects":
        _require(plan, "project", plan.projects, Project.objects.filter(team_id=team_id).count())
        return
    used = Membership.objects.filter(team_id=team_id).count()
    if what == "invitations":
        still_open = Invitation.objects.filter(team_id=team_id, accepted_at=None, expires_at__gt=now or timezone.now())
        used += still_open.count()
    _require(plan, "member", plan.members, used)


def _require(plan: plans.Plan, noun: str, limit: int | None, used: int) -> None:
    if not has_room(limit, used):
        message = f"The {plan.label} plan allows {limit} {noun}s. Remove one, or move to a larger plan."
        raise ApiError(403, f"{noun}_limit_reached", message)
