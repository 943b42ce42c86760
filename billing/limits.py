"""A team's plan limits and how much of them is used. Every app asks here; the numbers are in `plans.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from billing import plans
from billing.models import Subscription
from teams.errors import ApiError
from teams.links import absolute
from teams.models import Team

# Above this share, pages say that a limit is nearly reached.
NEAR: Final = 0.8

# What plans count, as a path from the team. Agents and channels are reached by relation only, because their apps import
# this one. An agent counts once, however many names it reports under.
COUNTED: Final = {
    "agents": "projects__agents",
    "members": "memberships",
    "projects": "projects",
    "channels": "projects__channels",
}


def plan_of(team_id: int) -> plans.Plan:
    """The plan a team is on."""
    key = Subscription.objects.filter(team_id=team_id).values_list("plan", flat=True).first()
    return plans.BY_KEY[key or settings.DEFAULT_PLAN]


def teams_on(plan: plans.Plan) -> QuerySet[Team]:
    """The teams on a plan, deleted ones included."""
    is_on = Q(subscription__plan=plan.key)
    is_default = Q(subscription__isnull=True) if plan.key == settings.DEFAULT_PLAN else Q(pk__in=())
    return Team.objects.filter(is_on | is_default)


def kept(team_id: int) -> timedelta:
    """The plan's history retention."""
    return timedelta(days=plan_of(team_id).history_days)


def refusal(team_id: int, what: str) -> ApiError | None:
    """Why the plan does not allow one more of `what`, or None if it does.

    `what` is a key of `COUNTED`, or `invitations`: open invitations count as members. Call it in the transaction that
    adds the row. It locks the team, so two concurrent requests cannot both take the last seat.
    """
    Team.objects.select_for_update(no_key=True).filter(pk=team_id).first()
    plan, counted = plan_of(team_id), "members" if what == "invitations" else what
    limit: int | None = getattr(plan, counted)
    used = _used(counted, [team_id])[team_id] + (_invited(team_id) if what == "invitations" else 0)
    if limit is None or used < limit:
        return None
    message = f"The {plan.label} plan allows {limit} {counted}, and all are in use. Delete one or change the plan"
    return ApiError(403, f"{counted.removesuffix('s')}_limit_reached", f"{message}: {usage_url()}")


def room(team_id: int, what: str) -> int | None:
    """How many more of `what` the plan allows; None for any number. Call it with the team's row locked."""
    limit: int | None = getattr(plan_of(team_id), what)
    return None if limit is None else max(0, limit - _used(what, [team_id])[team_id])


def require_room(*, team_id: int, what: str) -> None:
    """Raise ApiError 403 `…_limit_reached` if the plan allows no more of `what`; see `refusal`."""
    refused = refusal(team_id, what)
    if refused is not None:
        raise refused


def too_short(team_id: int, interval: float) -> str:
    """Why an interval, in seconds, is too short for the plan; empty if it is allowed."""
    plan = plan_of(team_id)
    if interval >= plan.shortest_interval:
        return ""
    return f"The minimum interval of the {plan.label} plan is {plan.shortest_interval:g} s."


def usage_url() -> str:
    """The page that shows plan limits and usage."""
    return absolute("admin:billing_subscription_changelist")


@dataclass(frozen=True, slots=True)
class Share:
    """How much of one plan limit a team uses. `limit` is None where the plan has none."""

    what: str
    used: int
    limit: int | None

    @property
    def full(self) -> bool:
        return self.limit is not None and self.used >= self.limit

    @property
    def near(self) -> bool:
        return self.limit is not None and not self.full and self.used >= NEAR * self.limit

    @property
    def percent(self) -> int:
        """Percentage of the limit, capped at 100."""
        return 0 if self.limit is None else min(100, 100 * self.used // (self.limit or 1))


@dataclass(frozen=True, slots=True)
class Usage:
    """A team's plan, and how much of each limit it uses."""

    plan: plans.Plan
    shares: tuple[Share, ...]

    def is_full(self, what: str) -> bool:
        """Whether the limit on `what`, a key of `COUNTED`, is reached."""
        return any(share.full for share in self.shares if share.what == what)


def usage_of(team_ids: Iterable[int]) -> dict[int, Usage]:
    """Usage by team, counted now, in a constant number of queries."""
    ids = list(team_ids)
    keys = dict(Subscription.objects.filter(team__in=ids).values_list("team_id", "plan"))
    used = {what: _used(what, ids) for what in COUNTED}
    usage = {}
    for pk in ids:
        plan = plans.BY_KEY[keys.get(pk, settings.DEFAULT_PLAN)]
        usage[pk] = Usage(plan, tuple(Share(what, used[what][pk], getattr(plan, what)) for what in COUNTED))
    return usage


def _used(what: str, team_ids: list[int]) -> dict[int, int]:
    counts = Team.objects.filter(pk__in=team_ids).order_by().annotate(n=Count(COUNTED[what]))
    return {**dict.fromkeys(team_ids, 0), **dict(counts.values_list("pk", "n"))}


def _invited(team_id: int) -> int:
    still_open = Q(invitations__accepted_at=None, invitations__expires_at__gt=timezone.now())
    return int(Team.objects.filter(pk=team_id).aggregate(n=Count("invitations", filter=still_open))["n"])


def agents_over_plan(teams: QuerySet[Team]) -> list[tuple[int, str]]:
    """Team and name of each agent that is over its plan's agent limit since a downgrade."""
    over = teams.filter(projects__agents__over_plan_at__isnull=False).order_by("projects__agents__name")
    return list(over.values_list("pk", "projects__agents__name"))
