"""Search for everything: agents, incidents, channels, people and whatever else has a list, from any page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.text import capfirst
from django.views.decorators.http import require_safe

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
    context = {"query": query, "groups": list(_groups(request, query)) if query else []}
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
        rows, _ = page.get_search_results(request, page.get_queryset(request), query)
        found = [Found(str(row), _url(row)) for row in rows.order_by("-pk")[:MAX_PER_LIST]]
        if found:
            every = f"{reverse(f'admin:{_name(page.opts)}_changelist')}?q="
            yield Group(str(capfirst(page.opts.verbose_name_plural)), found, every)


def _url(row: Any) -> str:
    try:
        return reverse(f"admin:{_name(row._meta)}_change", args=[row.pk])
    except NoReverseMatch:
        return reverse(f"admin:{_name(row._meta)}_changelist")


def _name(opts: Any) -> str:
    return f"{opts.app_label}_{opts.model_name}"
