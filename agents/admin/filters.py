"""How the list of agents is narrowed down, and the fleet, which asks that list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import F, QuerySet, Value
from django.db.models.functions import StrIndex, Substr
from django.http import HttpRequest
from django.utils import timezone

from agents import standing
from agents.models import Agent
from teams.listing import Bar, Choice

PROJECT = "project__id__exact"
SEARCH_HINT = "Search names, aliases and hosts"
LABELS_OFFERED = 200


class StatusFilter(admin.SimpleListFilter):
    """By what is shown, warnings told apart."""

    title = parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return standing.TOLD

    def queryset(self, request: HttpRequest, queryset: QuerySet[Agent]) -> QuerySet[Agent]:
        wanted = self.value()
        return queryset.alias(told=standing.told(timezone.now())).filter(told=wanted) if wanted else queryset


class LabelFilter(admin.SimpleListFilter):
    """By a label: `name=value`, or `name` for any value. Compared here, for JSON paths differ between databases."""

    title = parameter_name = "label"
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


def fleet_bar(agents: QuerySet[Agent], projects: list[tuple[str, str]]) -> Bar:
    """The same for the fleet, which asks the list."""
    choices = [
        Choice(PROJECT, "project", projects if len(projects) > 1 else []),
        Choice("status", "status", standing.TOLD),
        Choice("label", "label", label_options(labelled(agents)), free=True),
    ]
    return Bar(SEARCH_HINT, choices)
