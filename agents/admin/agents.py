"""The list of agents, worst first, and an agent's page."""

from __future__ import annotations

from datetime import datetime
from time import monotonic
from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils import timezone

from agents.admin import history as looks
from agents.admin import maintenance, selection
from agents.admin.backtests import Trying
from agents.admin.buttons import Button, Run, WithButtons
from agents.admin.filters import SEARCH_HINT, LabelFilter, StatusFilter, with_host
from agents.admin.forms import AgentForm, NewAgentForm
from agents.admin.rules import READ_ONLY, fieldsets, form_sections, in_words, with_rules
from agents.commands import dispatch, preflight
from agents.fleet import services
from agents.models import Agent, Command, Heartbeat
from agents.reporting import agent_status
from agents.rules import cost
from agents.rules.observers import burn_rate, version
from teams.admin.projects import actor
from teams.errors import ApiError
from teams.roles import Action
from teams.tenant_admin import or_404

BEATS_SHOWN, INCIDENTS_SHOWN, COMMANDS_SHOWN = 20, 8, 8
# Seconds; proxies wait for a minute.
DELETING: Final = 30.0


def target_text(agent: Agent) -> str:
    """`systemd:research-agent.service`; empty when a runner could not know what to restart."""
    return ":".join(preflight.target_of(agent) or ())


def explain_restart(agent: Agent) -> str:
    return (
        f"The runner is asked to restart {target_text(agent)}, once, unless {agent} works again by then or the runner "
        "does not come for it within five minutes. Work that it has in hand and has not saved is lost."
    )


def explain_stop(agent: Agent) -> str:
    return (
        f"The runner is asked to stop {target_text(agent)}, once, within five minutes; work that it has in hand and "
        f"has not saved is lost. {agent} then counts as stopped: its silence is no alarm, and nothing but a person "
        "starts it again."
    )


def restart(agent: Agent, by: str, reason: str, now: datetime) -> str:
    dispatch.request(agent=agent, action="restart", actor=by, reason=reason, now=now)
    return f"The runner is asked to restart {agent}."


def stop(agent: Agent, by: str, reason: str, now: datetime) -> str:
    dispatch.request(agent=agent, action="stop", actor=by, reason=reason, now=now)
    return f"The runner is asked to stop {agent}."


def pause(agent: Agent, by: str, reason: str, now: datetime) -> str:
    services.pause(agent=agent, actor=by, now=now)
    return f"{agent} is paused: its heartbeats are kept, and nobody is told of anything until it is resumed."


def resume(agent: Agent, by: str, reason: str, now: datetime) -> str:
    services.resume(agent=agent, actor=by, now=now)
    return f"{agent} is watched again."


@admin.register(Agent)
class AgentPage(WithButtons):
    form = AgentForm
    change_list_template = "agents/agents.html"
    table_template = "agents/agents_table.html"
    live_parts = {
        "now": "agents/agent_now.html",
        "history": "agents/agent_history.html",
        "past": "agents/agent_past.html",
    }
    change_form_template = "agents/agent.html"
    change_form_outer_after_template = None  # its own template has that link
    list_display = ["name", "project"]  # in words; the table shows more
    sortable_by = ()
    list_filter = ["project", StatusFilter, LabelFilter]
    list_select_related = ["project__team", "state__incident"]
    search_fields = ["name", "names__name", "host"]
    search_help_text = SEARCH_HINT
    list_per_page = 50  # what is drawn each two seconds
    destroys = ("incidents", "commands")
    explains_deletion = (
        "All its heartbeats and sums go, too. The next heartbeat under its name makes a new agent, so stop it first. "
        "This cannot be undone."
    )
    actions = ["pause_selected", "resume_selected", "maintenance_selected"]
    fieldsets = [
        ("Clocks", {"classes": ["collapse"], "fields": [("interval", "grace"), "progress_timeout"]}),
        ("Limits", {"classes": ["collapse"], "fields": [("daily_budget_usd", "run_budget_usd"), "daily_token_limit"]}),
        (
            "Restarting",
            {
                "classes": ["collapse"],
                "fields": [("restart_policy", "unsafe_to_repeat"), ("restart_type", "restart_target")],
            },
        ),
        ("Names", {"classes": ["collapse"], "fields": ["aliases", "kind", "labels"]}),
    ]
    buttons = (
        Button(
            "restart", "Restart", "restart_alt", restart, explain_restart,
            lambda a: not target_text(a), command=Command.Action.RESTART,
        ),
        Button(
            "stop", "Stop", "stop_circle", stop, explain_stop,
            lambda a: not target_text(a), tone="danger", command=Command.Action.STOP,
        ),
        Button("pause", "Pause", "pause_circle", pause, hidden=lambda a: a.paused_at is not None),
        Button("resume", "Resume", "play_circle", resume, hidden=lambda a: a.paused_at is None),
    )  # fmt: skip

    class Media:
        js = ("agents/choosing.js",)

    def get_urls(self) -> list[URLPattern]:
        return [Trying(self).url, *super().get_urls()]

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        return [agent_status.rank(timezone.now()).asc(), "project__name", "name", "pk"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return with_host(agent_status.fetched(super().get_queryset(request)))

    def table(self, request: HttpRequest, found: ChangeList, now: datetime) -> dict[str, Any]:
        rows = agent_status.with_strips(agent_status.of(found.result_list, now), now)
        acts, here = (*selection.OPERATING, selection.DELETING), request.get_full_path()
        return {"rows": rows, "choosing": selection.choosing(request, rows, found.result_count, here, acts)}

    def response_action(self, request: HttpRequest, queryset: QuerySet[Agent], *args: Any) -> HttpResponse | None:
        """Who was chosen by hand is meant, whether or not the filter still finds it."""
        is_by_hand = request.POST.get("select_across", "0") == "0"
        return super().response_action(request, self.get_queryset(request) if is_by_hand else queryset)

    # The page

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return [(None, {"fields": ["project", "name", "kind"]})]
        may_set = self.has_change_permission(request, obj)
        return [*super().get_fieldsets(request, obj), *(fieldsets() if may_set else [READ_ONLY])]

    def get_form(self, request: HttpRequest, obj: Agent | None = None, change: bool = False, **kwargs: Any) -> Any:
        kwargs["form"] = NewAgentForm if obj is None else with_rules(AgentForm)
        return super().get_form(request, obj, change=change, **kwargs)

    def aliases(self, obj: Agent) -> str:
        """For people who may look and not change."""
        return ", ".join(services.aliases_of(obj)) or "–"

    @admin.display(description="Rules in force")
    def rules_in_force(self, obj: Agent) -> str:
        return in_words(obj)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        agent: Agent | None = context.get("original")
        if agent is not None:
            for part in self.live_parts:
                context |= self.live_context(request, agent, part)
            context |= {"title": agent.name, "subtitle": None, "try": "admin:agents_agent_try"}
            context |= {"sections": form_sections(context["adminform"], agent)}
            context["media"] += looks.MEDIA
        return super().render_change_form(request, context, *args, **kwargs)

    def live_context(self, request: HttpRequest, row: Agent, part: str) -> dict[str, Any]:
        now = timezone.now()
        shared = {"now": now, "original": row, "opts": self.opts}
        if part == "now":
            [stands] = agent_status.of([row], now)
            signals = row.signals.filter(cleared_at__isnull=True)
            buttons = self.buttons_for(request, row)
            pace = burn_rate.pace(row.memory.rules.get(cost.KIND, {}), now)
            about: dict[str, Any] = {"aliases": services.aliases_of(row), "target": target_text(row), "pace": pace}
            about |= {"runs": version.running(row.memory.rules.get(version.KIND, {}), now)}
            about |= {"row": stands, "signals": signals, "buttons": buttons}
            return {**shared, **about, **looks.doing(row, stands, now)}
        if part == "history":
            return {**shared, **looks.looking_back(request, row, target_text(row), now)}
        return {
            **shared,
            "beats": Heartbeat.objects.filter(agent=row).order_by("-id")[:BEATS_SHOWN],
            "incidents": row.incidents.all()[:INCIDENTS_SHOWN],
            "commands": row.commands.all()[:COMMANDS_SHOWN],
        }

    # Writes

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        now, by = timezone.now(), actor(request)
        if isinstance(form, AgentForm):
            # The form has put its values into `obj` already; the service compares with what is stored.
            stored = Agent.objects.select_related("project__team").get(pk=obj.pk)
            services.change_agent(agent=stored, changes=form.changes, actor=by, now=now)
            return
        made = services.add_agent(project=obj.project, name=obj.name, kind=obj.kind, actor=by, now=now)
        obj.pk = made.pk

    def delete_model(self, request: HttpRequest, obj: Agent) -> None:
        services.delete_agent(agent=obj, actor=actor(request), now=timezone.now())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Agent]) -> None:
        """For as long as a request may take: each takes a moment, and there may be thousands."""
        until, rows = monotonic() + DELETING, list(queryset)
        for done, agent in enumerate(rows):
            if monotonic() >= until:
                raise ApiError(
                    409, "partly", f"{done} of {len(rows)} are deleted. Select the others and delete them, too."
                )
            self.delete_model(request, agent)

    @admin.action(description="Pause the selected agents", permissions=[Action.OPERATE.value])
    def pause_selected(self, request: HttpRequest, queryset: QuerySet[Agent]) -> HttpResponse:
        return self._each(request, queryset, pause, "paused")

    @admin.action(description="Resume the selected agents", permissions=[Action.OPERATE.value])
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Agent]) -> HttpResponse:
        return self._each(request, queryset, resume, "watched again")

    @admin.action(description="Plan maintenance for the selected agents", permissions=[Action.OPERATE.value])
    def maintenance_selected(self, request: HttpRequest, queryset: QuerySet[Agent]) -> HttpResponse:
        return maintenance.ask(request, or_404(list(queryset) or None))

    def _each(self, request: HttpRequest, agents: QuerySet[Agent], run: Run, done: str) -> HttpResponse:
        """What cannot be done to one of them is said, and done to the others."""
        refused: dict[str, int] = {}
        rows, now = list(agents.order_by("pk")), timezone.now()
        for agent in rows:
            try:
                run(agent, actor(request), "", now)
            except ApiError as refusal:
                refused[refusal.message] = refused.get(refusal.message, 0) + 1
        self.message_user(request, f"{len(rows) - sum(refused.values())} {done}.")
        for why, count in refused.items():
            self.message_user(request, f"{count} not: {why}", messages.WARNING)
        return HttpResponseRedirect(selection.back(request))
