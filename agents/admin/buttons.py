"""Buttons that act on a row, and the page that asks for confirmation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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

Run = Callable[..., str]
# What helps after a refusal, by its code: the text of a link, and an anchor on the agent's page.
REMEDIES: Final = {
    "restart_off": ("Open restart settings", "restarts"),
    "restart_budget": ("View history", "history"),
    "no_target": ("Set up a runner", "better"),
    "no_runner": ("Set up a runner", "better"),
    "command_live": ("View restarts & stops", "commands"),
}


@dataclass(frozen=True, slots=True)
class Button:
    """`run(row, actor, reason, now)` performs the action and returns a confirmation sentence.

    `explains` describes the effect before it is confirmed; None: no confirmation. `hidden` tells for which rows there
    is no button. `command` is the action requested from the agent's runner, if any. `choices` are asked for with the
    confirmation, as keys with their labels; `run` receives the chosen key as `choice`.
    """

    name: str
    label: str
    icon: str
    run: Run
    explains: Callable[[Any], str] | None = None
    hidden: Callable[[Any], bool] = lambda _row: False
    tone: str = "plain"
    command: str = ""
    choices: Callable[[], Mapping[str, str]] | None = None
    # Set per row: why the action would be refused now.
    why_not: str = ""
    # Drawn in its own form elsewhere on the page.
    is_separate: bool = False

    @property
    def needs_confirmation(self) -> bool:
        return self.explains is not None


class WithButtons(LivePage):
    """Rows with buttons at `<id>/press/<name>/`: POST acts, GET asks for confirmation."""

    buttons: ClassVar[tuple[Button, ...]] = ()

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_press"
        view = self.admin_site.admin_view(self.press_view)
        return [path("<path:object_id>/press/<slug:name>/", view, name=name), *super().get_urls()]

    def buttons_for(self, request: HttpRequest, row: Any) -> list[Button]:
        if not self.has_operate_permission(request, row):
            return []
        shown = [button for button in self.buttons if not (button.is_separate or button.hidden(row))]
        return _with_refusals(row, shown)

    def press_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if not self.has_operate_permission(request, row):
            raise PermissionDenied
        button = next((button for button in self.buttons if button.name == name), None)
        if button is None:
            raise Http404("No such button.")
        return self._press(request, row, button) if request.method == "POST" else self._confirm(request, row, button)

    def _press(self, request: HttpRequest, row: Any, button: Button) -> HttpResponse:
        try:
            chosen = {"choice": request.POST.get("choice", "")} if button.choices else {}
            done = button.run(row, actor(request), request.POST.get("reason", "").strip(), timezone.now(), **chosen)
            messages.success(request, done)
        except ApiError as refusal:
            messages.error(request, formatting.plain(refusal.message))
        return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", row.pk)

    def _confirm(self, request: HttpRequest, row: Any, button: Button) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"{button.label}: {row}",
            "agent": _agent_of(row),
            "opts": self.opts,
            "original": row,
            "button": button,
            "choices": button.choices() if button.choices else {},
            "explanation": button.explains(row) if button.explains else "",
            **(_preview(row, button.command) if button.command else {}),
        }
        return TemplateResponse(request, "agents/confirm.html", context)


def _agent_of(row: Any) -> Agent:
    agent: Agent = getattr(row, "agent", row)
    return agent


def _preflight(row: Any) -> Preflight:
    agent = _agent_of(row)
    return Preflight(agent, agent.state, restart_policy.PERSON, timezone.now())


def _with_refusals(row: Any, buttons: list[Button]) -> list[Button]:
    """Buttons that need the runner, with the reason if the action would be refused now."""
    commands = [button for button in buttons if button.command]
    if not commands:
        return buttons
    preflight = _preflight(row)
    refusals = {button.name: preflight.refusal(button.command) for button in commands}
    return [
        replace(button, why_not=refusal.message) if (refusal := refusals.get(button.name)) else button
        for button in buttons
    ]


def _preview(row: Any, action: str) -> dict[str, Any]:
    """For the confirmation page: a refusal and its remedy, the command that would be replaced, a warning."""
    preflight = _preflight(row)
    refused = preflight.refusal(action)
    return {
        "refused": refused,
        "remedy": REMEDIES.get(refused.code) if refused else None,
        "replaced": preflight.superseded(action),
        "caution": preflight.caution if action == Command.Action.RESTART and not refused else "",
    }
