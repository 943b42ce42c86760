"""List pages: one filter bar, a table template of their own, and an empty state that explains what goes there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ORDER_VAR, PAGE_VAR, SEARCH_VAR, ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.text import capfirst
from django.views.decorators.http import require_safe
from unfold.views import ChangeList as UnfoldChangeList

from teams import csv_export, sorting
from teams.access import is_operator, roles_of
from teams.filter_persistence import CLEAR
from teams.list_tools import ListTools, list_tools
from teams.tenant_admin import OperatorAdmin, TeamAdmin

if TYPE_CHECKING:
    _Base = admin.ModelAdmin[Any]
else:
    _Base = object

# Characters; no name is longer.
MAX_SEARCH_LENGTH = 200


@dataclass(frozen=True, slots=True)
class FilterChoice:
    """One select box of the filter bar. Values are those of the URL. `free`: any text can be entered."""

    name: str
    title: str
    options: list[tuple[str, str]]
    value: str = ""
    free: bool = False

    @property
    def summary(self) -> str:
        """`status over budget`, as the form shows it."""
        return f"{self.title} {dict(self.options).get(self.value, self.value)}"


def filter_choices(changelist: ChangeList) -> list[FilterChoice]:
    """The filters of a list. Django leaves out those with nothing to choose."""
    return [choice for choice in map(_choice, changelist.filter_specs) if choice is not None]


def _choice(spec: Any) -> FilterChoice | None:
    value: Any
    if isinstance(spec, admin.SimpleListFilter):
        name, options, value = str(spec.parameter_name), spec.lookup_choices, spec.value()
    elif isinstance(spec, admin.RelatedFieldListFilter):
        name, options, value = spec.lookup_kwarg, spec.lookup_choices, spec.lookup_val
    elif isinstance(spec, admin.ChoicesFieldListFilter):
        name, options, value = spec.lookup_kwarg, spec.field.flatchoices, spec.lookup_val
    else:
        return None
    selected = value[-1] if isinstance(value, list) and value else value
    texts = [(str(option), str(text)) for option, text in options]
    return FilterChoice(name, str(spec.title), texts, str(selected) if selected else "", getattr(spec, "free", False))


@dataclass(frozen=True, slots=True)
class FilterBar:
    """Context of `teams/admin/filter_bar.html`. When `filtered`, `n` of `total` rows are shown."""

    hint: str
    choices: list[FilterChoice]
    query: str = ""
    filtered: bool = False
    n: int = 0
    total: int = 0
    search: str = SEARCH_VAR
    sorting: sorting.Sorting | None = None

    @property
    def has_fields(self) -> bool:
        """Whether there is anything to fill in or clear."""
        return bool(self.hint or self.filtered or any(choice.options for choice in self.choices))

    @property
    def summary(self) -> str:
        """The active filters in words: `“web-1”, project Production`."""
        words = [f"“{self.query}”"] if self.query else []
        return ", ".join(words + [choice.summary for choice in self.choices if choice.value])


def filter_bar(changelist: ChangeList, order: sorting.Sorting | None = None) -> FilterBar:
    hint = str(changelist.search_help_text or "Search") if changelist.search_fields else ""
    return FilterBar(
        hint=hint,
        choices=filter_choices(changelist),
        query=changelist.query,
        filtered=bool(changelist.has_active_filters or changelist.query),
        n=changelist.result_count,
        total=changelist.full_result_count or 0,
        sorting=order if order and order.options else None,
    )


class SortedList(UnfoldChangeList):
    """A list sorted by the columns that its ModelAdmin names in `sorts`."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        changelist: Any = self  # Django's methods are not in its type stubs
        page: Any = self.model_admin
        usual = page.get_ordering(request) or changelist._get_default_ordering()
        order = sorting.ordering(page.sorts, self.params.get(ORDER_VAR, ""), timezone.now())
        ordering: list[Any] = changelist._get_deterministic_ordering([*order, *usual])
        return ordering


@dataclass(frozen=True, slots=True)
class Empty:
    """The empty state of a list: what it is for, and the next step.

    `add_label` is the button for those who can add a row; everyone else reads `without_permission`.
    """

    title: str
    text: str
    add_label: str = ""
    without_permission: str = ""


class TableMixin(_Base):
    """For ModelAdmins, before Django's own class: a list rendered by `table_template`."""

    table_template: ClassVar[str]
    empty: ClassVar[Empty]
    change_list_template = "teams/admin/list.html"
    sortable_by = ()
    list_per_page = 100
    sorts: ClassVar[Sequence[sorting.Sort]] = ()
    # Title -> value of a row. Empty: the list cannot be exported.
    export_columns: ClassVar[csv_export.Columns] = {}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return SortedList

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_safe(self.export_view))
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        own = [path("export/", view, name=name)] if self.export_columns else []
        return [*own, *super().get_urls()]

    def export_view(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """The rows of the list, with its filters and order, as a CSV file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            rows = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        now, title = timezone.now(), str(self.opts.verbose_name_plural)
        return csv_export.response(title, self.export_columns, self._exported(rows, now), now)

    def _exported(self, rows: QuerySet[Any], now: datetime) -> Iterator[Any]:
        for some in csv_export.in_chunks(rows):
            yield from self.export_rows(some, now)

    def export_rows(self, rows: list[Any], now: datetime) -> Iterable[Any]:
        """What the columns read. To be overridden where that is more than the row."""
        return rows

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Cut the search off: a database accepts only so many terms per query."""
        results: tuple[Any, bool] = super().get_search_results(request, queryset, search_term[:MAX_SEARCH_LENGTH])
        return results

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        title = capfirst(str(self.opts.verbose_name_plural))
        response = super().changelist_view(request, {"title": title, **(extra_context or {})})
        context = getattr(response, "context_data", None) or {}
        if "cl" in context:
            self._extend(context, request, timezone.now())
        return response

    def _extend(self, context: dict[str, Any], request: HttpRequest, now: datetime) -> None:
        changelist = context["cl"]
        order = sorting.sorting(self.sorts, changelist.params.get(ORDER_VAR, ""), _sorted_url(changelist))
        context |= {"bar": filter_bar(changelist, order), "sorting": order}
        if not getattr(request, "htmx", False):
            context["tools"] = self._tools(request)
        changelist.has_filters = False  # the filter bar replaces Django's sidebar
        # Without a total (`show_full_result_count`), the page count stands in, so that no wrong total is shown.
        changelist.full_result_count = changelist.full_result_count or changelist.result_count
        # Instead of "Select agent to change".
        context["title"] = capfirst(changelist.opts.verbose_name_plural)
        context |= {"now": now, **self.table(request, changelist, now)}
        context["many_teams"] = is_operator(request) or len(roles_of(request)) > 1

    def _tools(self, request: HttpRequest) -> ListTools:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_export"
        return list_tools(request, self.opts.label_lower, reverse(name) if self.export_columns else "")

    def table(self, request: HttpRequest, changelist: ChangeList, now: datetime) -> dict[str, Any]:
        """Template context for the rows of this page."""
        return {"rows": list(changelist.result_list)}


def _sorted_url(changelist: ChangeList) -> Callable[[dict[str, str]], str]:
    """Links that sort lead to the first page. Without any parameter, a list would restore its last filter."""

    def url(changes: dict[str, str]) -> str:
        found: str = changelist.get_query_string({name: value or None for name, value in changes.items()}, [PAGE_VAR])
        return found if found != "?" else f"?{CLEAR}"

    return url


class TeamTableAdmin(TableMixin, TeamAdmin):  # type: ignore[misc]
    """A table of rows that belong to the person's teams."""

    actions_detail: Any = ()


class OperatorTableAdmin(TableMixin, OperatorAdmin):  # type: ignore[misc]
    """A table for the operator only."""


def add_counts(rows: Sequence[Any], *relations: str) -> None:
    """Set `n_<relation>` on each row of one model: the number of related rows. One query per relation."""
    for relation in relations if rows else ():
        all_rows = type(rows[0])._default_manager.filter(pk__in=[row.pk for row in rows])
        counts = dict(all_rows.order_by().values_list("pk").annotate(Count(relation)))
        for row in rows:
            setattr(row, f"n_{relation}", counts.get(row.pk, 0))
