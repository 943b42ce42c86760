"""Search for everything: agents, incidents, channels, people, whatever else has a list, and the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.text import capfirst
from django.views.decorators.http import require_safe

from watchdog_project.documentation import Result
from watchdog_project.documentation_views import library

# Logs are left out: their rows have no names.
SEARCHED: Final = (
    "agents.agent",
    "agents.incident",
    "alerts.channel",
    "agents.maintenance",
    "teams.project",
    "teams.team",
    "teams.membership",
    "teams.invitation",
    "teams.apikey",
    "teams.user",
)
MAX_PER_LIST: Final = 6
MAX_LENGTH: Final = 100


class Found(NamedTuple):
    """A row, as its list names it, and its page."""

    title: str
    url: str


class Group(NamedTuple):
    """What was found in one list, and where all of it is."""

    title: str
    rows: list[Found]
    url: str


def urls() -> list[URLPattern]:
    """URLs under `/admin/`."""
    return [path("find/", admin.site.admin_view(find), name="find")]


@require_safe
def find(request: HttpRequest) -> HttpResponse:
    """The results as a page or, for the search dialog, as its part."""
    query = request.GET.get("q", "").strip()[:MAX_LENGTH]
    context = {"query": query, "groups": [*_groups(request, query), *_documentation(query)] if query else []}
    if getattr(request, "htmx", False):
        return TemplateResponse(request, "find_results.html", context)
    return TemplateResponse(request, "find.html", {**admin.site.each_context(request), "title": "Search", **context})


def _groups(request: HttpRequest, query: str) -> Iterator[Group]:
    """Each list searches as it does itself, so nobody finds what they may not see."""
    pages = {model._meta.label_lower: page for model, page in admin.site._registry.items()}
    for label in SEARCHED:
        page = pages.get(label)
        if page is None or not page.search_fields or not page.has_module_permission(request):
            continue
        matching, _ = page.get_search_results(request, page.get_queryset(request), query)
        # Not the matching rows themselves: an agent with several names that match would come once for each.
        rows = page.get_queryset(request).filter(pk__in=matching.order_by().values("pk")).order_by("-pk")
        found = [Found(str(row), _url(row)) for row in rows[:MAX_PER_LIST]]
        if found:
            every = f"{reverse(f'admin:{_name(page.opts)}_changelist')}?q="
            yield Group(str(capfirst(page.opts.verbose_name_plural)), found, every)


def _documentation(query: str) -> Iterator[Group]:
    """The sections of the documentation that match best."""
    results = library().search(query)[:MAX_PER_LIST]
    if results:
        found = [Found(_title(result), result.url) for result in results]
        yield Group("Documentation", found, f"{reverse('documentation')}?q=")


def _title(result: Result) -> str:
    """`Runner › Restarts`; of a page's beginning, the page."""
    page, section = result.page.title, result.section.title
    return page if section == page else f"{page} › {section}"


def _url(row: Any) -> str:
    try:
        return reverse(f"admin:{_name(row._meta)}_change", args=[row.pk])
    except NoReverseMatch:
        return reverse(f"admin:{_name(row._meta)}_changelist")


def _name(opts: Any) -> str:
    return f"{opts.app_label}_{opts.model_name}"
