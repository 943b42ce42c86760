"""What a person may do about an agent or an incident with one button, and the page that asks before it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from agents.admin.live import LivePage
from teams.admin.projects import actor
from teams.errors import ApiError

Run = Callable[[Any, str, str, datetime], str]


@dataclass(frozen=True, slots=True)
class Button:
    """`run(row, actor, reason, now)` does it and says so in a sentence. `explains` is what will happen; None: no need
    to ask. `hidden` says of a row that there is nothing to press."""

    name: str
    label: str
    icon: str
    run: Run
    explains: Callable[[Any], str] | None = None
    hidden: Callable[[Any], bool] = lambda _row: False
    tone: str = "plain"
    # It stands in a form of its own, elsewhere on the page.
    apart: bool = False

    @property
    def asks(self) -> bool:
        return self.explains is not None


class WithButtons(LivePage):
    """And rows that have buttons, at `<id>/press/<name>/`; POST presses, GET asks."""

    buttons: ClassVar[tuple[Button, ...]] = ()

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_press"
        view = self.admin_site.admin_view(self.press_view)
        return [path("<path:object_id>/press/<slug:name>/", view, name=name), *super().get_urls()]

    def buttons_for(self, request: HttpRequest, row: Any) -> list[Button]:
        if not self.has_operate_permission(request, row):
            return []
        return [button for button in self.buttons if not (button.apart or button.hidden(row))]

    def press_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if not self.has_operate_permission(request, row):
            raise PermissionDenied
        button = next((button for button in self.buttons if button.name == name), None)
        if button is None:
            raise Http404("There is no such button.")
        return self._press(request, row, button) if request.method == "POST" else self._ask(request, row, button)

    def _press(self, request: HttpRequest, row: Any, button: Button) -> HttpResponse:
        try:
            done = button.run(row, actor(request), request.POST.get("reason", "").strip(), timezone.now())
            messages.success(request, done)
        except ApiError as refusal:
            messages.error(request, refusal.message)
        return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", row.pk)

    def _ask(self, request: HttpRequest, row: Any, button: Button) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"{button.label}: {row}",
            "whom": getattr(row, "agent", row),
            "opts": self.opts,
            "original": row,
            "button": button,
            "explanation": button.explains(row) if button.explains else "",
        }
        return TemplateResponse(request, "agents/ask.html", context)
