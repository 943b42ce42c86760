"""The start page: an overview of all agents."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.contrib import admin
from django.db.models import Case, Count, F, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from agents.admin import filters, selection
from agents.models import Agent, Incident, Status
from agents.reporting import agent_status
from billing import refusals
from teams import filter_persistence, sorting
from teams.access import teams_of
from teams.changelists import filter_bar
from teams.list_tools import FLEET, list_tools
from teams.models import Project
from teams.roles import Action

AGENTS_SHOWN = 25
INCIDENTS_SHOWN = 8
# Statuses with a large tile; the others are small chips.
TILES = (Status.DOWN, Status.STALLED, agent_status.LOOPING, agent_status.OVER_BUDGET, Status.OK)
PROJECTS_SHOWN = 50
# What nobody has acknowledged first, then by severity: "critical" comes before "warning".
_WORST_INCIDENTS = (F("acknowledged_at").asc(nulls_first=True), "severity", "-opened_at", "-pk")
# Session key of the last filter.
FILTER_KEY = "filter fleet"


def urls() -> list[URLPattern]:
    """URLs under `/admin/`. The first one replaces Django's index."""
    view = admin.site.admin_view
    return [
        path("", view(overview), name="index"),
        path("fleet/", view(fleet_page), name="fleet"),
        path("alarms/", view(alarms), name="alarms"),
    ]


@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """The fleet with the filter in the URL, else with the last one."""
    if (redirect := filter_persistence.restore_filter(request, FILTER_KEY)) is not None:
        return redirect
    fleet = _fleet(request, timezone.now())
    over_limit = refusals.with_rejected_agents(teams_of(request.user, Action.MANAGE), fleet["now"])
    tools = list_tools(request, FLEET, reverse("admin:agents_agent_export"))
    shown = {**fleet, "tools": tools, "teams_over_limit": over_limit, "title": "Fleet overview"}
    return admin.site.index(request, shown)


@require_safe
def fleet_page(request: HttpRequest) -> HttpResponse:
    """The live part of the overview."""
    return TemplateResponse(request, "agents/fleet.html", _fleet(request, timezone.now()))


@require_safe
@never_cache
def alarms(request: HttpRequest) -> HttpResponse:
    """How many incidents nobody has acknowledged, for the tab's title and icon on every page."""
    unseen = Incident.objects.open().filter(project__team__in=teams_of(request.user), acknowledged_at=None)
    return JsonResponse({"alarms": unseen.count()})


def projects(request: HttpRequest) -> QuerySet[Project]:
    """The person's projects, newest first."""
    return Project.objects.filter(team__in=teams_of(request.user)).select_related("team").order_by("-pk")


def _fleet(request: HttpRequest, now: datetime) -> dict[str, Any]:
    filtered = filters.filtered_agents(request)
    agents = Agent.objects.filter(project__team__in=teams_of(request.user))
    any_status = agents.filter(pk__in=filtered.queryset.values("pk")) if filtered.has_other_filters else agents
    counts = _count(agents, filtered, now)
    rows = _first(filters.of_status(any_status, filtered.status), filtered, now)
    tiles, here = _tiles(counts, filtered), reverse("admin:index") + filtered.query_string
    return {
        "now": now,
        "bar": filter_bar(filtered, filtered.sorting),
        "sorting": filtered.sorting,
        "query_string": filtered.query_string,
        "is_filtered": filtered.is_filtered,
        "counts": counts,
        "tiles": [tile for tile in tiles if tile.status in TILES],
        "chips": [tile for tile in tiles if tile.status not in TILES],
        "shown": len(rows),
        "selection": selection.selection_for(request, rows, counts.n, here),
        "groups": _groups(rows, counts.matching, filtered),
        **_incidents(request, any_status, filtered),
    }


class ProjectRef(NamedTuple):
    pk: int
    name: str


StatusCounts = dict[ProjectRef, Counter[str]]


@dataclass(frozen=True, slots=True)
class FleetCounts:
    """Agents per status. `any_status` are those that match every filter but the status, by project; `others` the
    rest."""

    any_status: StatusCounts
    others: Counter[str]
    status: str

    @property
    def matching(self) -> StatusCounts:
        """Agents that match all filters, by project."""
        if not self.status:
            return self.any_status
        with_status = ((project, counts[self.status]) for project, counts in self.any_status.items())
        return {project: Counter({self.status: n}) for project, n in with_status if n}

    @property
    def all(self) -> Counter[str]:
        return _sum(self.any_status) + self.others

    @property
    def total(self) -> int:
        return self.all.total()

    @property
    def n(self) -> int:
        return _sum(self.matching).total()

    @property
    def need_attention(self) -> int:
        """Of the agents that match."""
        return _need_attention(_sum(self.matching))

    @property
    def hidden(self) -> int:
        """Agents that need attention but do not match."""
        return _need_attention(self.all) - self.need_attention

    @property
    def is_calm(self) -> bool:
        """Whether some agents are OK and none has a problem, including those that do not match."""
        return bool(self.all[Status.OK]) and not (_need_attention(self.all) or self.all[Status.LATE])

    @property
    def not_ok(self) -> list[tuple[str, int]]:
        """The other statuses of a calm fleet: what is paused or stopped has no problem, and is not OK either."""
        return [(label, n) for label, n in _labelled(self.all) if label != Status.OK.label]


def _sum(counts: StatusCounts) -> Counter[str]:
    return sum(counts.values(), Counter[str]())


def _need_attention(counts: Counter[str]) -> int:
    return sum(counts[status] for status in agent_status.NEEDS_ATTENTION)


def _count(agents: QuerySet[Agent], filtered: filters.FilteredAgents, now: datetime) -> FleetCounts:
    # One statement, so that shown and hidden agents add up.
    is_match = Case(When(pk__in=filtered.queryset.values("pk"), then=True), default=False)
    matches = is_match if filtered.has_other_filters else Value(True)
    annotated = agents.annotate(shown=agent_status.display_status(now), matches=matches).order_by()
    rows = annotated.values_list("project_id", "project__name", "shown", "matches").annotate(n=Count("pk"))
    any_status: StatusCounts = {}
    others = Counter[str]()
    for pk, name, status, is_matching, n in rows:
        (any_status.setdefault(ProjectRef(pk, name), Counter()) if is_matching else others)[status] += n
    return FleetCounts(any_status, others, filtered.status)


class Tile(NamedTuple):
    """The number of agents with a status. Its link filters by the status, or lifts that filter if it `is_on`."""

    status: str
    label: str
    n: int
    query_string: str
    is_on: bool


def _tiles(counts: FleetCounts, filtered: filters.FilteredAgents) -> list[Tile]:
    """For every status, also while one is filtered, so that people can switch between them."""
    per_status = _sum(counts.any_status)
    return [_tile(status, label, per_status[status], filtered) for status, label in agent_status.DISPLAY_STATUSES]


def _tile(status: str, label: str, n: int, filtered: filters.FilteredAgents) -> Tile:
    is_on = status == filtered.status
    query_string = filtered.with_changes(**{filters.STATUS: "" if is_on else status})
    return Tile(status, label, n, query_string, is_on)


def _first(agents: QuerySet[Agent], filtered: filters.FilteredAgents, now: datetime) -> list[agent_status.AgentStatus]:
    """The worst ones, or the first ones in the order that the person chose."""
    order = sorting.ordering(filters.SORTS, filtered.sorting.current, now)
    rows = agent_status.with_related(agents).order_by(*order, *agent_status.worst_first(now))[:AGENTS_SHOWN]
    return agent_status.with_strips(agent_status.statuses(rows, now), now)


class Group(NamedTuple):
    """The rows of one project, its agents per status, and a link to all of them. `project` is None if it is the
    only one."""

    project: ProjectRef | None
    counts: list[tuple[str, int]]
    rows: list[agent_status.AgentStatus]
    query_string: str = ""

    @property
    def unshown(self) -> int:
        return sum(n for _, n in self.counts) - len(self.rows)


def _groups(
    rows: list[agent_status.AgentStatus], counts: StatusCounts, filtered: filters.FilteredAgents
) -> list[Group]:
    """Projects in the order of their first agents, then projects without an agent among the rows."""
    if len(counts) < 2:
        return [Group(None, [], rows)]
    by_project: dict[ProjectRef, list[agent_status.AgentStatus]] = {}
    for row in rows:
        by_project.setdefault(ProjectRef(row.agent.project_id, row.agent.project.name), []).append(row)
    rest = sorted(counts.keys() - by_project.keys(), key=lambda project: (project.name, project.pk))
    by_project |= {project: [] for project in rest[:PROJECTS_SHOWN]}
    return [
        Group(
            project,
            _labelled(counts.get(project, Counter())),
            own_rows,
            filtered.with_changes(**{filters.PROJECT: str(project.pk)}),
        )
        for project, own_rows in by_project.items()
    ]


def _labelled(counts: Counter[str]) -> list[tuple[str, int]]:
    return [(label, counts[status]) for status, label in agent_status.DISPLAY_STATUSES if counts[status]]


def _incidents(request: HttpRequest, any_status: QuerySet[Agent], filtered: filters.FilteredAgents) -> dict[str, Any]:
    """Open incidents of the matching agents, whatever their status, like the tiles."""
    incidents = Incident.objects.open().filter(project__team__in=teams_of(request.user))
    if filtered.has_other_filters:
        incidents = incidents.filter(agent__in=any_status.values("pk"))
    return {
        "incidents": incidents.select_related("project", "agent").order_by(*_WORST_INCIDENTS)[:INCIDENTS_SHOWN],
        "incident_count": incidents.count(),
        "incidents_query_string": filtered.only(filters.PROJECT),
        "has_other_filters": filtered.has_other_filters,
    }
