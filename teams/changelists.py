"""Lists as people read them: one form that narrows them down, a table of their own, and what an empty one teaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.db.models import Count
from django.http import HttpRequest
from django.utils import timezone

from teams.tenant_admin import OperatorAdmin, TeamAdmin, allowed_operator, roles_of

if TYPE_CHECKING:
    _Base = admin.ModelAdmin[Any]
else:
    _Base = object

# Letters of a search; no name is longer.
LONGEST_SEARCH = 200


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing to choose by. Values are as they stand in the address. What is `free` may be any text."""

    name: str
    title: str
    options: list[tuple[str, str]]
    value: str = ""
    free: bool = False

    @property
    def said(self) -> str:
        """`status over budget`, as the form shows it."""
        return f"{self.title} {dict(self.options).get(self.value, self.value)}"


def choices_of(found: ChangeList) -> list[Choice]:
    """The filters of a list as choices. Django leaves out those that would choose nothing."""
    return [choice for choice in map(_choice, found.filter_specs) if choice is not None]


def _choice(spec: Any) -> Choice | None:
    value: Any
    if isinstance(spec, admin.SimpleListFilter):
        name, options, value = str(spec.parameter_name), spec.lookup_choices, spec.value()
    elif isinstance(spec, admin.RelatedFieldListFilter):
        name, options, value = spec.lookup_kwarg, spec.lookup_choices, spec.lookup_val
    elif isinstance(spec, admin.ChoicesFieldListFilter):
        name, options, value = spec.lookup_kwarg, spec.field.flatchoices, spec.lookup_val
    else:
        return None
    chosen = value[-1] if isinstance(value, list) and value else value
    texts = [(str(option), str(text)) for option, text in options]
    return Choice(name, str(spec.title), texts, str(chosen) if chosen else "", getattr(spec, "free", False))


@dataclass(frozen=True, slots=True)
class Bar:
    """For `teams/admin/filter.html`. `n` of `total` are shown when it is `filtered`."""

    hint: str
    choices: list[Choice]
    query: str = ""
    filtered: bool = False
    n: int = 0
    total: int = 0
    search: str = SEARCH_VAR

    @property
    def said(self) -> str:
        """What it narrows down by, in words: `“web-1”, project Production`."""
        words = [f"“{self.query}”"] if self.query else []
        return ", ".join(words + [choice.said for choice in self.choices if choice.value])


def bar_of(found: ChangeList) -> Bar:
    hint = str(found.search_help_text or "Search") if found.search_fields else ""
    filtered = bool(found.has_active_filters or found.query)
    return Bar(hint, choices_of(found), found.query, filtered, found.result_count, found.full_result_count or 0)


@dataclass(frozen=True, slots=True)
class Empty:
    """What a list says while nothing is in it: what it is for, and the next step.

    `add` is on the button of who may add; `others` tells the rest who does.
    """

    title: str
    text: str
    add: str = ""
    others: str = ""


class Table(_Base):
    """For ModelAdmins, before Django's own: a list with a table of its own, `table_template`."""

    table_template: ClassVar[str]
    empty: ClassVar[Empty]
    change_list_template = "teams/admin/list.html"
    sortable_by = ()
    list_per_page = 100

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """A database takes only so many words at once."""
        found: tuple[Any, bool] = super().get_search_results(request, queryset, search_term[:LONGEST_SEARCH])
        return found

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        answer = super().changelist_view(request, extra_context)
        context = getattr(answer, "context_data", None) or {}
        if "cl" in context:
            now, found = timezone.now(), context["cl"]
            # The filters are in a form of our own, on all widths; where all are not counted, nothing is said of them.
            context["bar"], found.has_filters = bar_of(found), False
            found.full_result_count = found.full_result_count or found.result_count
            context |= {"now": now, **self.table(request, found, now)}
            context["many_teams"] = allowed_operator(request) or len(roles_of(request)) > 1
        return answer

    def table(self, request: HttpRequest, found: ChangeList, now: datetime) -> dict[str, Any]:
        """What the table shows of this page of the list."""
        return {"rows": list(found.result_list)}


class TableList(Table, TeamAdmin):  # type: ignore[misc]
    """Such a list, of rows of the person's teams."""

    actions_detail: Any = ()


class OperatorList(Table, OperatorAdmin):  # type: ignore[misc]
    """Such a list, the operator's alone."""


def counted(rows: Sequence[Any], *relations: str) -> None:
    """Note on rows of one model how many each has of its relations, as `n_agents`; one query a relation."""
    for relation in relations if rows else ():
        all_rows = type(rows[0])._default_manager.filter(pk__in=[row.pk for row in rows])
        found = dict(all_rows.order_by().values_list("pk").annotate(Count(relation)))
        for row in rows:
            setattr(row, f"n_{relation}", found.get(row.pk, 0))
