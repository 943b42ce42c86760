"""The page at the front: the fleet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.contrib import admin
from django.db.models import Case, Count, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from agents.admin import filters, selection
from agents.models import Agent, Incident, Status
from agents.reporting import agent_status
from billing import refusals
from teams import filter_persistence
from teams.changelists import bar_of
from teams.models import Project
from teams.roles import Action
from teams.tenant_admin import teams_of

WORST_SHOWN = 25
INCIDENTS_SHOWN = 8
# What is counted in big numbers.
BIG = (Status.DOWN, Status.STALLED, agent_status.LOOPING, agent_status.OVER_BUDGET, Status.OK)
PROJECTS_SHOWN = 50
# Of the session, where its last filter is kept.
KEPT = "filter fleet"


def urls() -> list[URLPattern]:
    """Addresses under `/admin/`. The first one is Django's own, answered here."""
    view = admin.site.admin_view
    return [
        path("", view(front), name="index"),
        path("fleet/", view(fleet_page), name="fleet"),
    ]


@require_safe
def front(request: HttpRequest) -> HttpResponse:
    """The fleet, narrowed down as the address says; without a word there, as it was last."""
    if (elsewhere := filter_persistence.elsewhere(request, KEPT)) is not None:
        return elsewhere
    fleet = _fleet(request, timezone.now())
    short = refusals.with_rejected_agents(teams_of(request.user, Action.MANAGE), fleet["now"])
    return admin.site.index(request, {**fleet, "short_of_places": short, "title": "Fleet"})


@require_safe
def fleet_page(request: HttpRequest) -> HttpResponse:
    """The part of the front page that changes."""
    return TemplateResponse(request, "agents/fleet.html", _fleet(request, timezone.now()))


def projects(request: HttpRequest) -> QuerySet[Project]:
    """Those of the person, the newest first."""
    return Project.objects.filter(team__in=teams_of(request.user)).select_related("team").order_by("-pk")


def _fleet(request: HttpRequest, now: datetime) -> dict[str, Any]:
    found = filters.narrowed(request)
    agents = Agent.objects.filter(project__team__in=teams_of(request.user))
    wide = agents.filter(pk__in=found.queryset.values("pk")) if found.is_narrow else agents
    numbers = _numbers(agents, found, now)
    rows = _worst(filters.of_status(wide, found.status), now)
    return {
        "now": now,
        "bar": bar_of(found),
        "asked": found.asked,
        "numbers": numbers,
        "tiles": [tile for tile in _tiles(numbers, found) if tile.told in BIG],
        "chips": [tile for tile in _tiles(numbers, found) if tile.told not in BIG],
        "shown": len(rows),
        "choosing": selection.choosing(request, rows, numbers.n, reverse("admin:index") + found.asked),
        "groups": _groups(rows, numbers.matching, found),
        **_incidents(request, wide, found),
    }


class Place(NamedTuple):
    """A project, as far as the fleet names it."""

    pk: int
    name: str


Counts = dict[Place, Counter[str]]


@dataclass(frozen=True, slots=True)
class Numbers:
    """How many agents are how: by project those that the filter leaves whatever their `status`, and the others."""

    wide: Counts
    others: Counter[str]
    status: str

    @property
    def matching(self) -> Counts:
        """Those of the status alone, where one is asked for."""
        if not self.status:
            return self.wide
        return {place: Counter({self.status: n}) for place, told in self.wide.items() if (n := told[self.status])}

    @property
    def all(self) -> Counter[str]:
        return _sum(self.wide) + self.others

    @property
    def total(self) -> int:
        return self.all.total()

    @property
    def n(self) -> int:
        return _sum(self.matching).total()

    @property
    def bad(self) -> int:
        """Of those that match."""
        return _bad(_sum(self.matching))

    @property
    def hidden(self) -> int:
        """Those that need attention and do not match."""
        return _bad(self.all) - self.bad

    @property
    def calm(self) -> bool:
        """Whether all is well, also with those that do not match."""
        return not (_bad(self.all) or self.all[Status.LATE])


def _sum(counts: Counts) -> Counter[str]:
    return sum(counts.values(), Counter[str]())


def _bad(told: Counter[str]) -> int:
    return sum(told[status] for status in agent_status.TOLD_BAD)


def _numbers(agents: QuerySet[Agent], found: filters.Narrowed, now: datetime) -> Numbers:
    """In one statement, so that what is shown and what is hidden add up."""
    is_wide = (
        Case(When(pk__in=found.queryset.values("pk"), then=True), default=False) if found.is_narrow else Value(True)
    )
    counted = agents.annotate(told=agent_status.told(now), is_wide=is_wide).order_by()
    rows = counted.values_list("project_id", "project__name", "told", "is_wide").annotate(n=Count("pk"))
    wide: Counts = {}
    others = Counter[str]()
    for pk, name, told, matches, n in rows:
        (wide.setdefault(Place(pk, name), Counter()) if matches else others)[told] += n
    return Numbers(wide, others, found.status)


class Tile(NamedTuple):
    """How many are so, and where those are shown alone; all again, if they are already."""

    told: str
    label: str
    n: int
    address: str
    is_on: bool


def _tiles(numbers: Numbers, found: filters.Narrowed) -> list[Tile]:
    """Whatever the status that is shown: they lead from one to the other."""
    counts, on = _sum(numbers.wide), numbers.status
    return [
        Tile(told, label, counts[told], found.but(**{filters.STATUS: "" if told == on else told}), told == on)
        for told, label in agent_status.TOLD
    ]


def _worst(agents: QuerySet[Agent], now: datetime) -> list[agent_status.Standing]:
    found = agent_status.fetched(agents).order_by(agent_status.rank(now), "name", "pk")[:WORST_SHOWN]
    return agent_status.with_strips(agent_status.of(found, now), now)


class Group(NamedTuple):
    """The rows of one project, how many of its agents are how, and where all are. No project: there is only one."""

    project: Place | None
    counts: list[tuple[str, int]]
    rows: list[agent_status.Standing]
    asked: str = ""

    @property
    def unshown(self) -> int:
        return sum(n for _, n in self.counts) - len(self.rows)


def _groups(rows: list[agent_status.Standing], counts: Counts, found: filters.Narrowed) -> list[Group]:
    """Projects in the order of their worst agents; then those none of whose agents is among the worst."""
    if len(counts) < 2:
        return [Group(None, [], rows)]
    own: dict[Place, list[agent_status.Standing]] = {}
    for row in rows:
        own.setdefault(Place(row.agent.project_id, row.agent.project.name), []).append(row)
    rest = sorted(counts.keys() - own.keys(), key=lambda place: (place.name, place.pk))
    own |= {place: [] for place in rest[:PROJECTS_SHOWN]}
    return [
        Group(place, _told(counts.get(place, Counter())), its, found.but(**{filters.PROJECT: str(place.pk)}))
        for place, its in own.items()
    ]


def _told(counts: Counter[str]) -> list[tuple[str, int]]:
    return [(label, counts[told]) for told, label in agent_status.TOLD if counts[told]]


def _incidents(request: HttpRequest, wide: QuerySet[Agent], found: filters.Narrowed) -> dict[str, Any]:
    """The open ones of the agents that match, whatever their status: so do the numbers above."""
    incidents = Incident.objects.open().filter(project__team__in=teams_of(request.user))
    if found.is_narrow:
        incidents = incidents.filter(agent__in=wide.values("pk"))
    return {
        "incidents": incidents.select_related("project", "agent")[:INCIDENTS_SHOWN],
        "incident_count": incidents.count(),
        "incidents_asked": found.only(filters.PROJECT),
        "is_narrow": found.is_narrow,
    }
