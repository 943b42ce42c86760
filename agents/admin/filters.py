"""How the list of agents is narrowed down, and the fleet, by the filters of that list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import F, QuerySet, Value
from django.db.models.functions import StrIndex, Substr
from django.http import HttpRequest
from django.utils import timezone
from django.utils.http import urlencode
from unfold.views import ChangeList

from agents.models import Agent
from agents.reporting import agent_status
from teams.filter_persistence import CLEAR

PROJECT, LABEL, STATUS = "project__id__exact", "label", "status"
NAMES = (SEARCH_VAR, PROJECT, LABEL, STATUS)
SEARCH_HINT = "Search names, aliases and hosts"
LABELS_OFFERED = 200


class StatusFilter(admin.SimpleListFilter):
    """By what is shown, warnings told apart."""

    title = parameter_name = STATUS

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return agent_status.TOLD

    def queryset(self, request: HttpRequest, queryset: QuerySet[Agent]) -> QuerySet[Agent]:
        return of_status(queryset, self.value())


def of_status(agents: QuerySet[Agent], told: str | None) -> QuerySet[Agent]:
    """Those that are shown with this one of `TOLD`; all for none, nobody for what is no status."""
    if told and told not in dict(agent_status.TOLD):
        return agents.none()
    return agents.alias(told=agent_status.told(timezone.now())).filter(told=told) if told else agents


class LabelFilter(admin.SimpleListFilter):
    """By a label: `name=value`, or `name` for any value. Compared here, for JSON paths differ between databases."""

    title = parameter_name = LABEL
    free = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Not of a poll, which leaves the form alone."""
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
    """The agents that have labels, with these as `name=value`."""
    found = agents.exclude(labels={}).order_by().values_list("pk", "labels")
    return [(pk, [f"{name}={value}" for name, value in labels.items()]) for pk, labels in found]


def label_options(rows: Iterable[tuple[int, list[str]]]) -> list[tuple[str, str]]:
    return [(text, text) for text in sorted({text for _, has in rows for text in has})[:LABELS_OFFERED]]


def with_host(agents: QuerySet[Agent]) -> QuerySet[Agent]:
    """For searching: who reports it, without the key that comes first in `source`."""
    return agents.alias(host=Substr("state__source", StrIndex(F("state__source"), Value("/")) + 1))


class Narrowed(ChangeList):
    """What the list of agents finds for an address: for the fleet, which counts by itself and has no pages.

    `queryset` is what all but the status leaves. What else is in the address counts for nothing.
    """

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return {name: values for name, values in self._asked().items() if name != SEARCH_VAR}

    def get_queryset(self, request: HttpRequest, exclude_parameters: list[str | None] | None = None) -> QuerySet[Agent]:
        found: QuerySet[Agent] = super().get_queryset(request, [STATUS])
        return found

    def get_results(self, request: HttpRequest) -> None:
        """Neither counted nor cut into pages."""
        self.result_count = self.full_result_count = 0

    def _asked(self) -> dict[str, list[str]]:
        given = {**self.filter_params, SEARCH_VAR: [self.query]}
        return {name: given[name] for name in NAMES if any(given.get(name, ()))}

    @property
    def status(self) -> str:
        return str(self._asked().get(STATUS, [""])[-1])

    @property
    def is_narrow(self) -> bool:
        """Whether anything but the status is asked for."""
        return bool(self._asked().keys() - {STATUS})

    @property
    def asked(self) -> str:
        """`?status=down`; empty when nothing is asked for."""
        return self.only(*NAMES)

    def only(self, *names: str) -> str:
        """As `asked`, of these alone."""
        return _address({name: values for name, values in self._asked().items() if name in names})

    def but(self, **changes: str) -> str:
        """The same with these changed, those that are empty lifted; `?clear` where nothing is left."""
        return _address({**self._asked(), **changes}) or f"?{CLEAR}"


def _address(asked: dict[str, Any]) -> str:
    left = urlencode([(name, values) for name, values in asked.items() if values], doseq=True)
    return f"?{left}" if left else ""


def narrowed(request: HttpRequest) -> Narrowed:
    """For the page of the list of agents, with its own filters and search."""
    page: Any = admin.site.get_model_admin(Agent)
    return Narrowed(
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
