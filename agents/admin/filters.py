"""Filters of the list of agents; the fleet uses the same ones."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.contrib import admin
from django.contrib.admin.views.main import ORDER_VAR, SEARCH_VAR
from django.db.models import BigIntegerField, Case, F, QuerySet, Value, When
from django.db.models.functions import StrIndex, Substr
from django.http import HttpRequest
from django.utils import timezone
from django.utils.http import urlencode

from agents.models import Agent
from agents.reporting import agent_status
from teams.access import teams_of
from teams.changelists import SortedList
from teams.filter_persistence import CLEAR
from teams.models import Project
from teams.sorting import Sort, Sorting, sorting

PROJECT, LABEL, STATUS = "project__id__exact", "label", "status"
AGENT = "agent__id__exact"
NAMES = (SEARCH_VAR, PROJECT, LABEL, STATUS, ORDER_VAR)
SEARCH_HINT = "Search names, aliases and hosts"
MAX_LABELS = 200


class StatusFilter(admin.SimpleListFilter):
    """By displayed status, which splits warnings by kind."""

    title = parameter_name = STATUS

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return agent_status.DISPLAY_STATUSES

    def queryset(self, request: HttpRequest, queryset: QuerySet[Agent]) -> QuerySet[Agent]:
        return of_status(queryset, self.value())


def of_status(agents: QuerySet[Agent], status: str | None) -> QuerySet[Agent]:
    """Agents with this display status: all if empty, none if there is no such status."""
    if not status:
        return agents
    if status not in dict(agent_status.DISPLAY_STATUSES):
        return agents.none()
    return agents.alias(shown=agent_status.display_status(timezone.now())).filter(shown=status)


class AgentFilter(admin.SimpleListFilter):
    """The rows of one agent, linked from its page. Only offered while it is selected, so that the list says so."""

    title, parameter_name = "agent", AGENT

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        pk = request.GET.get(AGENT, "")
        if not pk:
            return []
        agents = Agent.objects.filter(project__team__in=teams_of(request.user), pk=pk) if _is_id(pk) else ()
        return [(pk, next((agent.name for agent in agents), pk))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        pk = self.value()
        if not pk:
            return queryset
        return queryset.filter(agent=pk) if _is_id(pk) else queryset.none()


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


class LabelFilter(admin.SimpleListFilter):
    """By a label: `name=value`, or `name` for any value. Compared in Python: JSON paths differ between databases."""

    title = parameter_name = LABEL
    free = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        # A poll does not redraw the form, so it needs no choices.
        needed = not getattr(request, "htmx", False) or self.parameter_name in request.GET
        self.labelled = labelled(model_admin.get_queryset(request)) if needed else []
        return label_options(self.labelled)

    def has_output(self) -> bool:
        return bool(self.lookup_choices) or self.value() is not None

    def queryset(self, request: HttpRequest, queryset: QuerySet[Agent]) -> QuerySet[Agent]:
        wanted = (self.value() or "").strip()
        return queryset.filter(pk__in=[pk for pk, has in self.labelled if _has(has, wanted)]) if wanted else queryset


def _has(labels: list[str], wanted: str) -> bool:
    return wanted in labels or wanted in (label.partition("=")[0] for label in labels)


def labelled(agents: QuerySet[Agent]) -> list[tuple[int, list[str]]]:
    """Agents with labels, these as `name=value`."""
    rows = agents.exclude(labels={}).order_by().values_list("pk", "labels")
    return [(pk, [f"{name}={value}" for name, value in labels.items()]) for pk, labels in rows]


def label_options(rows: Iterable[tuple[int, list[str]]]) -> list[tuple[str, str]]:
    return [(text, text) for text in sorted({text for _, has in rows for text in has})[:MAX_LABELS]]


def _spend_today(now: datetime) -> Case:
    """The hot row may still hold another day's spend, and each project has its own days."""
    zones = Project.objects.order_by().values_list("time_zone", flat=True).distinct()
    today = {zone: now.astimezone(ZoneInfo(zone)).date() for zone in zones}
    days = {day: [zone for zone in today if today[zone] == day] for day in set(today.values())}
    whens = [When(project__time_zone__in=days[day], state__day=day, then=F("state__cost_today")) for day in days]
    return Case(*whens, default=Value(0), output_field=BigIntegerField())


# Of the list and the fleet. The usual order is worst first.
SORTS: Final = (
    Sort("name", "Agent", "name"),
    Sort("heartbeat", "Heartbeat", "state__last_beat_at", newest_first=True),
    Sort("progress", "Progress", "state__last_progress_at", newest_first=True),
    Sort("spend", "Spend today", _spend_today, newest_first=True),
    Sort("incident", "Incident", "state__incident__opened_at", newest_first=True),
)


def with_host(agents: QuerySet[Agent]) -> QuerySet[Agent]:
    """For searching by host: `source` without the key id at its start."""
    return agents.alias(host=Substr("state__source", StrIndex(F("state__source"), Value("/")) + 1))


class FilteredAgents(SortedList):
    """The list of agents for the fleet's query string. The fleet does its own counting and has no pages.

    `queryset` applies every filter except the status. Unknown parameters are ignored.
    """

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return {name: values for name, values in self._active().items() if name not in (SEARCH_VAR, ORDER_VAR)}

    def get_queryset(self, request: HttpRequest, exclude_parameters: list[str | None] | None = None) -> QuerySet[Agent]:
        agents: QuerySet[Agent] = super().get_queryset(request, [STATUS])
        return agents

    def get_results(self, request: HttpRequest) -> None:
        # Neither counted nor paginated.
        self.result_count = self.full_result_count = 0

    def _active(self) -> dict[str, list[str]]:
        values = {**self.filter_params, SEARCH_VAR: [self.query]}
        return {name: values[name] for name in NAMES if any(values.get(name, ()))}

    @property
    def status(self) -> str:
        return str(self._active().get(STATUS, [""])[-1])

    @property
    def has_other_filters(self) -> bool:
        """Whether anything but the status is filtered."""
        return bool(self._active().keys() - {STATUS, ORDER_VAR})

    @property
    def is_filtered(self) -> bool:
        """Whether any agent may be hidden. An order hides none."""
        return bool(self._active().keys() - {ORDER_VAR})

    @property
    def sorting(self) -> Sorting:
        return sorting(SORTS, self._active().get(ORDER_VAR, [""])[-1], lambda changes: self.with_changes(**changes))

    @property
    def query_string(self) -> str:
        """`?status=down`; empty without a filter."""
        return self.only(*NAMES)

    def only(self, *names: str) -> str:
        """The query string with these parameters alone."""
        return _query_string({name: values for name, values in self._active().items() if name in names})

    def with_changes(self, **changes: str) -> str:
        """The query string with these changes; an empty value lifts a filter, `?clear` lifts the last one."""
        return _query_string({**self._active(), **changes}) or f"?{CLEAR}"


def _query_string(values: dict[str, Any]) -> str:
    encoded = urlencode([(name, value) for name, value in values.items() if value], doseq=True)
    return f"?{encoded}" if encoded else ""


def filtered_agents(request: HttpRequest) -> FilteredAgents:
    """With the filters and the search of the list of agents."""
    page: Any = admin.site.get_model_admin(Agent)
    return FilteredAgents(
        request,
        model=Agent,
        model_admin=page,
        list_filter=page.get_list_filter(request),
        search_fields=page.search_fields,
        search_help_text=page.search_help_text,
        list_display=page.list_display,
        list_select_related=page.list_select_related,
        list_per_page=page.list_per_page,
        list_max_show_all=page.list_max_show_all,
        list_display_links=None,
        list_editable=(),
        date_hierarchy=None,
        sortable_by=(),
    )
