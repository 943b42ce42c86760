"""What a team's plan leaves room for. Asked by every app; the numbers are in `plans.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db.models import Count, Q, QuerySet
from django.urls import reverse
from django.utils import timezone

from billing import plans
from billing.models import Subscription
from teams.errors import ApiError
from teams.models import Team

# From this share of a limit on a team is told that it is nearly reached.
NEAR: Final = 0.8

# What plans count, and how it hangs on a team. Agents and channels are known here by their relation only: their apps
# stand above this one. An agent is one, however many names it reports under.
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


def kept(team_id: int) -> timedelta:
    """How long a team's history is kept."""
    return timedelta(days=plan_of(team_id).history_days)


def refusal(team_id: int, what: str) -> ApiError | None:
    """The refusal of one more of `what` (see `COUNTED`, and `invitations`, open ones counting as members to be), if
    the plan has no room for it.

    Ask within the transaction that adds it: the team's row is locked, so that two cannot both be the last.
    """
    Team.objects.select_for_update(no_key=True).filter(pk=team_id).first()
    plan, counted = plan_of(team_id), "members" if what == "invitations" else what
    limit: int | None = getattr(plan, counted)
    used = _used(counted, [team_id])[team_id] + (_invited(team_id) if what == "invitations" else 0)
    if limit is None or used < limit:
        return None
    message = f"All {limit} places for {counted} of the {plan.label} plan are taken. Delete one, or change the plan"
    return ApiError(403, f"{counted.removesuffix('s')}_limit_reached", f"{message}: {usage_url()}")


def require_room(*, team_id: int, what: str) -> None:
    """Raise 403 `…_limit_reached` when the plan allows no more of `what`; see `refusal`."""
    refused = refusal(team_id, what)
    if refused is not None:
        raise refused


def too_short(team_id: int, interval: float) -> str:
    """Why an interval of that many seconds cannot be set; empty when it can."""
    plan = plan_of(team_id)
    if interval >= plan.shortest_interval:
        return ""
    return f"The shortest interval of the {plan.label} plan is {plan.shortest_interval:g} s."


def usage_url() -> str:
    """Where a person sees what the plan leaves room for."""
    return settings.BASE_URL + reverse("admin:billing_subscription_changelist")


@dataclass(frozen=True, slots=True)
class Share:
    """How much of one thing a team has. `limit` None: without limit."""

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
        """Of the limit, at most 100."""
        return 0 if self.limit is None else min(100, 100 * self.used // (self.limit or 1))


@dataclass(frozen=True, slots=True)
class Usage:
    """What a team has of what its plan counts."""

    plan: plans.Plan
    shares: tuple[Share, ...]


def usage_of(team_ids: Iterable[int]) -> dict[int, Usage]:
    """By team, counted afresh: always the same number of queries."""
    ids = list(team_ids)
    keys = dict(Subscription.objects.filter(team__in=ids).values_list("team_id", "plan"))
    used = {what: _used(what, ids) for what in COUNTED}
    found = {}
    for pk in ids:
        plan = plans.BY_KEY[keys.get(pk, settings.DEFAULT_PLAN)]
        found[pk] = Usage(plan, tuple(Share(what, used[what][pk], getattr(plan, what)) for what in COUNTED))
    return found


def _used(what: str, team_ids: list[int]) -> dict[int, int]:
    counts = Team.objects.filter(pk__in=team_ids).order_by().annotate(n=Count(COUNTED[what]))
    return {**dict.fromkeys(team_ids, 0), **dict(counts.values_list("pk", "n"))}


def _invited(team_id: int) -> int:
    still_open = Q(invitations__accepted_at=None, invitations__expires_at__gt=timezone.now())
    return int(Team.objects.filter(pk=team_id).aggregate(n=Count("invitations", filter=still_open))["n"])


def without_place(teams: QuerySet[Team]) -> list[tuple[int, str]]:
    """Team and name of agents that their plan has no place for since it became smaller."""
    found = teams.filter(projects__agents__over_plan_at__isnull=False).order_by("projects__agents__name")
    return list(found.values_list("pk", "projects__agents__name"))
