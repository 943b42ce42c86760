"""What a person may do about a row with one button, and the page that asks before it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar, Final

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from agents.admin.live import LivePage
from agents.commands.preflight import Preflight
from agents.domain import restart_policy
from agents.models import Agent, Command
from agents.reporting import formatting
from teams.admin.projects import actor
from teams.errors import ApiError

Run = Callable[[Any, str, str, datetime], str]
# Where on the agent's page is what helps against a refusal: what the link says, and the place.
INSTEAD: Final = {
    "restart_off": ("Its settings for restarting", "restarting"),
    "restart_budget": ("What happened before", "history"),
    "no_target": ("How a runner watches it", "better"),
    "no_runner": ("How a runner watches it", "better"),
    "command_live": ("Its commands", "commands"),
}


@dataclass(frozen=True, slots=True)
class Button:
    """`run(row, actor, reason, now)` does it and says so in a sentence. `explains` is what will happen; None: no need
    to ask. `hidden` says of a row that there is nothing to press. `command` is what it asks of the agent's runner."""

    name: str
    label: str
    icon: str
    run: Run
    explains: Callable[[Any], str] | None = None
    hidden: Callable[[Any], bool] = lambda _row: False
    tone: str = "plain"
    command: str = ""
    # As it stands with a row: why it would be refused now.
    why_not: str = ""
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
        shown = [button for button in self.buttons if not (button.apart or button.hidden(row))]
        return _forewarned(row, shown)

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
            messages.error(request, formatting.plain(refusal.message))
        return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", row.pk)

    def _ask(self, request: HttpRequest, row: Any, button: Button) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"{button.label}: {row}",
            "whom": _agent_of(row),
            "opts": self.opts,
            "original": row,
            "button": button,
            "explanation": button.explains(row) if button.explains else "",
            **(_foreseen(row, button.command) if button.command else {}),
        }
        return TemplateResponse(request, "agents/ask.html", context)


def _agent_of(row: Any) -> Agent:
    agent: Agent = getattr(row, "agent", row)
    return agent


def _wish(row: Any) -> Preflight:
    """Of the person who looks at the row, at this moment."""
    agent = _agent_of(row)
    return Preflight(agent, agent.state, restart_policy.PERSON, timezone.now())


def _forewarned(row: Any, buttons: list[Button]) -> list[Button]:
    """Those that ask something of the runner know whether that would be refused."""
    ordering = [button for button in buttons if button.command]
    if not ordering:
        return buttons
    wish = _wish(row)
    refusals = {button.name: wish.refusal(button.command) for button in ordering}
    return [replace(one, why_not=why.message) if (why := refusals.get(one.name)) else one for one in buttons]


def _foreseen(row: Any, action: str) -> dict[str, Any]:
    """For the page that asks: whether it would be refused, what to do instead, and what is to be considered."""
    wish = _wish(row)
    refused = wish.refusal(action)
    return {
        "refused": refused,
        "instead": INSTEAD.get(refused.code) if refused else None,
        "replaced": wish.superseded(action),
        "caution": wish.caution if action == Command.Action.RESTART and not refused else "",
    }
