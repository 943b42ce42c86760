"""Pages that update themselves: a poll fetches only the part that changes."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.forms import Media
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from teams.changelists import TeamTableAdmin

MEDIA = Media(js=["agents/live.js"])


class LiveList(TeamTableAdmin):
    """A list whose table polls its own URL."""

    @property
    def media(self) -> Media:
        media: Media = super().media
        return media + MEDIA

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        response = super().changelist_view(request, extra_context)
        if getattr(request, "htmx", False) and "cl" in (getattr(response, "context_data", None) or {}):
            response.template_name = self.table_template
        return response


class LivePage(LiveList):
    """Also a row's page, with parts that poll `<id>/live/<part>/`."""

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
            raise Http404("No such part.")
        return TemplateResponse(request, self.live_parts[part], self.live_context(request, row, part))

    def live_context(self, request: HttpRequest, row: Any, part: str) -> dict[str, Any]:
        raise NotImplementedError
