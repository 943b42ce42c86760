"""The plan and usage page. Operators move teams between plans."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.views.decorators.http import require_safe

from billing import history, limits, plans
from billing.gateway import Offer, gateway
from billing.history import DayOfUse
from billing.limits import Usage
from billing.models import Refusal, Subscription
from billing.services import set_plan
from teams import csv_export
from teams.access import is_operator, teams_of
from teams.admin.projects import actor
from teams.models import Team
from teams.tenant_admin import TeamAdmin

TEAMS_PER_PAGE: Final = 10
MAX_REJECTED_SHOWN: Final = 20
CHANGE_WARNING: Final = (
    "Takes effect immediately. On a smaller plan, the newest agents over its limit are no longer monitored, and "
    "history older than the plan keeps is deleted within the hour. Deleted history cannot be restored."
)


class Chart(NamedTuple):
    """One daily figure. `unit` is `number` or `money`."""

    what: str
    unit: str
    values: list[int]

    @property
    def most(self) -> int:
        return max(self.values)

    @property
    def bars(self) -> list[int]:
        """Heights in percent. Anything above zero gets a visible bar."""
        return [max(2, 100 * value // self.most) if value else 0 for value in self.values]


@dataclass(frozen=True, slots=True)
class TeamUsage:
    """Everything the page shows about one team."""

    team: Team
    usage: Usage
    days: list[DayOfUse]
    over_plan: list[str]
    rejected: list[Refusal]
    offer: Offer | None
    is_reporting: bool

    @property
    def charts(self) -> list[Chart]:
        return [
            Chart("Heartbeats per day", "number", [day.heartbeats for day in self.days]),
            Chart("Agents that reported", "number", [day.agents for day in self.days]),
            Chart("Spend per day", "money", [day.cost for day in self.days]),
        ]

    @property
    def used_days(self) -> list[DayOfUse]:
        """Newest first."""
        return [day for day in reversed(self.days) if day.heartbeats]

    @property
    def spent(self) -> int:
        return sum(day.cost for day in self.days)


def usage_by_team(teams: Iterable[Team], now: datetime) -> list[TeamUsage]:
    """What to show for each team, in a constant number of queries."""
    teams = list(teams)
    ids = [team.pk for team in teams]
    usage, days, reporting = limits.usage_of(ids), history.of(ids, now), history.reporting(ids, now)
    over_plan = _by_team(limits.agents_over_plan(Team.objects.filter(pk__in=ids)))
    rejected = _by_team((row.team_id, row) for row in Refusal.objects.filter(team__in=ids).select_related("project"))
    return [
        TeamUsage(
            team=team,
            usage=usage[team.pk],
            days=days[team.pk],
            over_plan=over_plan[team.pk],
            rejected=rejected[team.pk] if usage[team.pk].is_full("agents") else [],
            offer=_offer(team, usage[team.pk]),
            is_reporting=team.pk in reporting,
        )
        for team in teams
    ]


def _by_team(pairs: Iterable[tuple[int, Any]]) -> defaultdict[int, list[Any]]:
    by_team: defaultdict[int, list[Any]] = defaultdict(list)
    for team_id, value in pairs:
        by_team[team_id].append(value)
    return by_team


def _offer(team: Team, usage: Usage) -> Offer | None:
    larger = plans.ALL[plans.ALL.index(usage.plan) + 1 :]
    return gateway().offer(team, larger[0]) if larger else None


@admin.register(Subscription)
class PlanPage(TeamAdmin):
    team_path = "team"
    add_action = change_action = delete_action = None

    def get_fields(self, request: HttpRequest, obj: Subscription | None = None) -> Any:
        return ["team", "plan", "since"] if obj else ["team", "plan"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return is_operator(request)

    has_change_permission = has_add_permission

    def get_readonly_fields(self, request: HttpRequest, obj: Subscription | None = None) -> list[str]:
        return ["team", "since"] if obj else []

    def _choices(self, db_field: Any, request: HttpRequest, rows: Any) -> Any:
        return Team.objects.active() if is_operator(request) else Team.objects.none()

    def formfield_for_choice_field(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        return super().formfield_for_choice_field(db_field, request, help_text=CHANGE_WARNING, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        set_plan(team=obj.team, plan=obj.plan, actor=actor(request))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_safe(self.export_view))
        return [path("export/", view, name="billing_subscription_export"), *super().get_urls()]

    def export_view(self, request: HttpRequest) -> StreamingHttpResponse:
        """The daily figures of the teams on the page, of all its pages."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        now = timezone.now()
        return csv_export.response("usage", EXPORT_COLUMNS, _exported(_teams(request), now), now)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> TemplateResponse:
        """A page of usage instead of a list of rows: teams on the default plan have no row."""
        page = Paginator(_teams(request), TEAMS_PER_PAGE).get_page(request.GET.get("page"))
        now = timezone.now()
        context = {
            **self.admin_site.each_context(request),
            "title": "Plan and usage",
            "opts": self.opts,
            "now": now,
            "page": page,
            "teams": usage_by_team(page, now),
            "all_plans": plans.ALL,
            "max_rejected": MAX_REJECTED_SHOWN,
            "may_change": is_operator(request),
            "export_query": request.GET.urlencode(),
        }
        return TemplateResponse(request, "billing/plan.html", context)


class UsageRow(NamedTuple):
    team: Team
    day: DayOfUse


EXPORT_COLUMNS: Final[csv_export.Columns] = {
    "Team": lambda row: row.team,
    "Day (UTC)": lambda row: row.day.day,
    "Heartbeats": lambda row: row.day.heartbeats,
    "Agents": lambda row: row.day.agents,
    "Spend (USD)": lambda row: csv_export.dollars(row.day.cost),
}


def _exported(teams: QuerySet[Team], now: datetime) -> Iterator[UsageRow]:
    for some in csv_export.in_chunks(teams):
        days = history.of((team.pk for team in some), now)
        yield from (UsageRow(team, day) for team in some for day in days[team.pk])


def _teams(request: HttpRequest) -> QuerySet[Team]:
    """The person's teams, or the requested one of them."""
    teams = teams_of(request.user).select_related("subscription").order_by("name", "pk")
    wanted = request.GET.get("team", "")
    return teams.filter(pk=wanted) if wanted.isdecimal() and len(wanted) < 19 else teams
