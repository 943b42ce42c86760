"""Pages that keep themselves up to date: a poll gets only the part that changes."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.forms import Media
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from agents.admin.filters import bar_of
from teams.scoping import TeamAdmin

MEDIA = Media(css={"all": ["agents/watch.css"]}, js=["agents/live.js"])


class LiveList(TeamAdmin):
    """A list with a table of its own (`table_template`), which polls its own address."""

    table_template: ClassVar[str]
    change_list_template = "agents/change_list.html"
    list_per_page = 100

    @property
    def media(self) -> Media:
        media: Media = super().media
        return media + MEDIA

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        answer = super().changelist_view(request, extra_context)
        context = getattr(answer, "context_data", None) or {}
        if "cl" in context:
            now = timezone.now()
            # The filters are in a form of our own, on all widths.
            context["bar"], context["cl"].has_filters = bar_of(context["cl"]), False
            context |= {"now": now, "rows": self.rows(list(context["cl"].result_list), now)}
            if getattr(request, "htmx", False):
                answer.template_name = self.table_template
        return answer

    def rows(self, found: list[Any], now: Any) -> list[Any]:
        """What the table shows of the rows of this page."""
        return found


class LivePage(LiveList):
    """And a row's page with parts that poll `<id>/live/<part>/`."""

    live_parts: ClassVar[dict[str, str]] = {}

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_live"
        view = self.admin_site.admin_view(self.live_view)
        return [path("<path:object_id>/live/<slug:part>/", view, name=name), *super().get_urls()]

    def live_view(self, request: HttpRequest, object_id: str, part: str) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, row) or request.method != "GET":
            raise PermissionDenied
        if part not in self.live_parts:
            raise Http404("There is no such part.")
        return TemplateResponse(request, self.live_parts[part], self.live_context(request, row, part))

    def live_context(self, request: HttpRequest, row: Any, part: str) -> dict[str, Any]:
        raise NotImplementedError
