"""A project's public status page and the badges of its agents, if they are switched on.

Names and statuses only: no reasons, no money, no links into the admin. An unknown address and a page that is switched
off give the same 404.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from django.db.models import Count, Min, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import escape
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from agents.models import Agent, Rollup, Signal, Status
from agents.reporting import agent_status, availability
from agents.reporting.agent_status import AgentStatus
from teams.links import absolute, on_base_url
from teams.models import Project

MAX_AGENTS: Final = 100
UNSUMMED: Final = timedelta(days=1)
# Badges that the project's page offers for copying.
MAX_BADGES: Final = 10
# Badge colours, by their shields.io names.
COLOURS: Final[dict[str, str]] = {
    Status.DOWN: "red",
    Status.STALLED: "red",
    Status.WARNING: "orange",
    Status.LATE: "yellow",
    Status.WAITING: "blue",
    Status.OK: "brightgreen",
}
HEX: Final = {
    "red": "#b42318",
    "orange": "#a34700",
    "yellow": "#7a5b00",
    "blue": "#175a8f",
    "brightgreen": "#17663a",
    "lightgrey": "#4b5563",
}
# Text at 11 px: the average width of a letter, and the padding around the text.
LETTER, PADDING = 6.6, 12
public_cache = cache_control(public=True, max_age=10)


@require_safe
@public_cache
def status_page(request: HttpRequest, address: str) -> HttpResponse:
    """The project's agents, worst first, with their last 90 days."""
    project, now = _project(address), timezone.now()
    agents = Agent.objects.filter(project=project)
    shown = _shown(agents, now)
    context = {"project": project, "rows": _rows(project, shown, now), **_counts(agents, shown), "now": now}
    return render(request, "agents/status_page.html", context)


@require_safe
@public_cache
def agent_badge(request: HttpRequest, address: str, name: str, form: str) -> HttpResponse:
    """The status of one agent, by name or alias."""
    return _badge(name, _shown(Agent.objects.filter(project=_project(address), names__name=name), timezone.now()), form)


@require_safe
@public_cache
def label_badge(request: HttpRequest, address: str, label: str, value: str, form: str) -> HttpResponse:
    """The worst status of all agents with a label."""
    agents = Agent.objects.filter(project=_project(address))
    labelled = [pk for pk, labels in agents.values_list("pk", "labels") if labels.get(label) == value]
    return _badge(f"{label}: {value}", _shown(agents.filter(pk__in=labelled), timezone.now()), form)


def _project(address: str) -> Project:
    return get_object_or_404(Project.objects.exclude(status_page=Project.StatusPage.OFF), status_address=address)


def _shown(agents: QuerySet[Agent], now: datetime) -> list[AgentStatus]:
    """Worst first; paused and new agents are included."""
    return agent_status.statuses(
        agent_status.with_related(agents).order_by(*agent_status.worst_first(now))[:MAX_AGENTS], now
    )


def _counts(agents: QuerySet[Agent], shown: list[AgentStatus]) -> dict[str, Any]:
    """Agents with problems, all agents, and how many have each status; the page may not list them all."""
    counts = Counter(row.status for row in shown)
    if len(shown) == MAX_AGENTS:
        stored = agents.order_by().values_list("state__status")
        counts = Counter(dict(stored.annotate(n=Count("pk"))))
    return {
        "bad": sum(counts[status] for status in agent_status.PROBLEM_STATUSES),
        "total": counts.total(),
        "all_ok": set(counts) == {Status.OK},
        "by_status": [(str(status.label), counts[status]) for status in Status if counts[status]],
    }


def _rows(project: Project, shown: list[AgentStatus], now: datetime) -> list[dict[str, Any]]:
    zone, since = ZoneInfo(project.time_zone), now - timedelta(days=availability.DAYS)
    ids = [status.agent.pk for status in shown]
    troubles, first_days = _troubles(ids, since), _first_days(ids, since)
    return [
        _row(
            status,
            troubles.get(status.agent.pk, ()),
            _known(status, first_days.get(status.agent.pk), since, now),
            now,
            zone,
        )
        for status in shown
    ]


def _first_days(agent_ids: Iterable[int], since: datetime) -> dict[int, datetime]:
    """The first day with heartbeats, by agent. History that the plan no longer keeps is no uptime."""
    days = Rollup.objects.filter(agent__in=list(agent_ids), span=Rollup.Span.DAY, start__gte=since)
    return dict(days.order_by().values_list("agent_id").annotate(first=Min("start")))


def _known(
    status: AgentStatus, first_day: datetime | None, since: datetime, now: datetime
) -> availability.Known | None:
    """When the agent was monitored. Pauses and stops that are over are not told from uptime."""
    agent, last_beat_at = status.agent, status.state.last_beat_at
    if last_beat_at is None:
        return None
    # Totals are some minutes behind, so a new agent has none yet; another one was only added long before it reported.
    unsummed = agent.created_at if now - agent.created_at < UNSUMMED else last_beat_at
    began = max(agent.created_at, first_day or unsummed, since)
    ended = agent.paused_at or (last_beat_at if status.status == Status.STOPPED else now)
    return availability.Known(min(began, ended), ended)


def _row(
    status: AgentStatus,
    troubles: Sequence[availability.Trouble],
    known: availability.Known | None,
    now: datetime,
    zone: ZoneInfo,
) -> dict[str, Any]:
    days = availability.days(troubles, known, now, zone)
    is_long_known = known is not None and known.seconds >= availability.UPTIME_FROM
    began = [trouble.began for trouble in troubles if trouble.ended is None and _explains(trouble, status.status)]
    return {
        "agent": status,
        "since": min(began, default=None),
        "known": sum(day.state != availability.UNKNOWN for day in days),
        "is_new": known is not None and known.since == status.agent.created_at,
        "is_ended": status.status in agent_status.ENDED,
        "days": math.ceil(known.seconds / timedelta(days=1).total_seconds()) if known else 0,
        "uptime": availability.share(days, known) if known and is_long_known else None,
        "down": sum(day.down for day in days),
        "lines": availability.lines(days),
        "problem_days": [(position, day) for position, day in enumerate(days) if day.state in availability.AMISS],
        "width": len(days),
    }


def _explains(trouble: availability.Trouble, status: str) -> bool:
    return agent_status.status_of(trouble.kind, is_critical=trouble.critical) == status


def _troubles(agent_ids: Iterable[int], since: datetime) -> dict[int, list[availability.Trouble]]:
    signals = Signal.objects.filter(agent__in=list(agent_ids)).filter(Q(cleared_at=None) | Q(cleared_at__gt=since))
    by_agent: dict[int, list[availability.Trouble]] = {}
    for agent_id, kind, severity, began, ended in signals.values_list(
        "agent_id", "kind", "severity", "started_at", "cleared_at"
    ):
        by_agent.setdefault(agent_id, []).append(availability.Trouble(kind, severity == "critical", began, ended))
    return by_agent


def _badge(label: str, shown: list[AgentStatus], form: str) -> HttpResponse:
    if not shown or form not in FORMS:
        raise Http404
    status = shown[0].status
    return FORMS[form](label, str(Status(status).label), COLOURS.get(status, "lightgrey"))


class Badge(NamedTuple):
    """A badge and the snippets that embed it; it links to the status page."""

    of: str
    path: str
    url: str
    markdown: str
    html: str


def badges(project: Project) -> list[Badge]:
    """Badges of the first agents and of their labels; empty while the status page is switched off."""
    if project.status_page == Project.StatusPage.OFF or not project.status_address:
        return []
    agents = list(Agent.objects.filter(project=project).order_by("name").values_list("name", "labels")[:MAX_BADGES])
    labels = sorted({(name, str(value)) for _, named in agents for name, value in named.items()})[:MAX_BADGES]
    of_agents = [(name, reverse("public:agent", args=[project.status_address, name, "svg"])) for name, _ in agents]
    of_labels = [
        (f"{name}: {value}", reverse("public:label", args=[project.status_address, name, value, "svg"]))
        for name, value in labels
        if name and "/" not in name and value
    ]
    page = absolute("public:status", project.status_address)
    return [_as_badge(of, path, page) for of, path in (*of_agents, *of_labels)]


def _as_badge(of: str, path: str, page: str) -> Badge:
    url = on_base_url(path)
    alt = re.sub(r"([\\\[\]])", r"\\\1", of)
    html = f'<a href="{page}"><img src="{url}" alt="{escape(of)}"></a>'
    return Badge(of, path, url, f"[![{alt}]({url})]({page})", html)


def _json(label: str, message: str, colour: str) -> HttpResponse:
    """The shields.io endpoint format."""
    return JsonResponse({"schemaVersion": 1, "label": label, "message": message, "color": colour})


def _svg(label: str, message: str, colour: str) -> HttpResponse:
    left, right = (round(len(text) * LETTER) + PADDING for text in (label, message))
    context = {"label": label, "message": message, "colour": HEX[colour], "left": left, "right": right}
    sizes = {"whole": left + right, "middle": left / 2, "second": left + right / 2}
    return HttpResponse(render_to_string("agents/badge.svg", context | sizes), content_type="image/svg+xml")


FORMS: Final[dict[str, Callable[[str, str, str], HttpResponse]]] = {"json": _json, "svg": _svg}

app_name = "public"
urlpatterns = [
    path("status/<str:address>/", status_page, name="status"),
    path("badge/<str:address>/agent/<path:name>.<str:form>", agent_badge, name="agent"),
    path("badge/<str:address>/label/<str:label>/<path:value>.<str:form>", label_badge, name="label"),
]
