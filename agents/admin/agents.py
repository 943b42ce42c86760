"""The list of agents, those that need attention first, and an agent's page."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from functools import partial
from time import monotonic
from typing import Any, ClassVar, Final

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils import timezone

from agents.admin import filters, maintenance, pausing, selection
from agents.admin import history as history_view
from agents.admin.backtests import BacktestPage
from agents.admin.buttons import Button, Run, WithButtons
from agents.admin.filters import SEARCH_HINT, LabelFilter, StatusFilter, with_host
from agents.admin.forms import AgentForm, NewAgentForm
from agents.admin.jobs.schedule import SchedulePage
from agents.admin.rules import READ_ONLY, fieldsets, form_sections, in_words, with_rules
from agents.commands import dispatch, preflight
from agents.fleet import holds, services
from agents.models import Agent, Command, Heartbeat
from agents.reporting import agent_status
from agents.rules import cost
from agents.rules.observers import burn_rate, version
from teams import csv_export
from teams.admin.projects import actor
from teams.errors import ApiError
from teams.roles import Action
from teams.tenant_admin import or_404

BEATS_SHOWN, INCIDENTS_SHOWN, COMMANDS_SHOWN = 20, 8, 8
# Seconds for a bulk deletion; proxies time out after a minute.
DELETE_TIME_LIMIT: Final = 30.0


def target_text(agent: Agent) -> str:
    """`systemd:research-agent.service`, or empty if no restart target is known."""
    return ":".join(preflight.target_of(agent) or ())


def explain_restart(agent: Agent) -> str:
    return (
        f"The runner will restart {target_text(agent)} once. Cancelled if {agent} recovers or no runner responds "
        "within 5 minutes. Unsaved work will be lost."
    )


def explain_stop(agent: Agent) -> str:
    return (
        f"The runner will stop {target_text(agent)} once, within 5 minutes. Unsaved work will be lost. {agent} then "
        "counts as stopped: it sends no alerts, and only a person can start it again."
    )


def restart(agent: Agent, by: str, reason: str, now: datetime) -> str:
    dispatch.request(agent=agent, action="restart", actor=by, reason=reason, now=now)
    return f"Restart of {agent} requested."


def stop(agent: Agent, by: str, reason: str, now: datetime) -> str:
    dispatch.request(agent=agent, action="stop", actor=by, reason=reason, now=now)
    return f"Stop of {agent} requested."


def explain_hold(agent: Agent) -> str:
    return (
        f"Every answer asks {agent} to stop, and its next tool call is denied where its client can, until somebody "
        "ends the hold. Its process keeps running."
    )


def hold(agent: Agent, by: str, reason: str, now: datetime) -> str:
    holds.hold(agent=agent, actor=by, reason=reason, now=now)
    return f"{agent} is on hold until somebody ends it."


def end_hold(agent: Agent, by: str, reason: str, now: datetime) -> str:
    holds.end_hold(agent=agent, actor=by, now=now)
    return f"Hold of {agent} ended."


def explain_release(agent: Agent) -> str:
    return (
        f"The names of {agent} belong to the API keys that first used them. Afterwards, the next key that reports as "
        f"{agent} owns its name."
    )


def release(agent: Agent, by: str, reason: str, now: datetime) -> str:
    services.release_names(agent=agent, actor=by, now=now)
    return f"Names of {agent} released."


@admin.register(Agent)
class AgentPage(WithButtons):
    form = AgentForm
    change_list_template = "agents/agents.html"
    table_template = "agents/agents_table.html"
    live_parts = {
        part: f"agents/agent_{part}.html"
        for part in ("head", "now", "history", "better", "beats", "incidents", "commands")
    }
    change_form_template = "agents/agent.html"
    change_form_outer_after_template = None  # the template has this link itself
    list_display = ["name", "project"]  # used in sentences; the table shows more
    sortable_by = ()
    list_filter = ["project", StatusFilter, LabelFilter]
    list_select_related = ["project__team", "state__incident"]
    search_fields = ["name", "names__name", "host"]
    search_help_text = SEARCH_HINT
    sorts = filters.SORTS
    export_columns: ClassVar = {
        "Agent": lambda row: row.agent,
        "Team": lambda row: row.agent.project.team,
        "Project": lambda row: row.agent.project,
        "Status": lambda row: row.display_label,
        "Description": lambda row: row.agent.description,
        "Owner": lambda row: row.agent.owner,
        "Runbook": lambda row: row.agent.runbook_url,
        "Labels": lambda row: ", ".join(f"{name}={value}" for name, value in row.agent.labels.items()),
        "Host": lambda row: row.host,
        "Interval (s)": lambda row: row.interval,
        "Last heartbeat (UTC)": lambda row: row.state.last_beat_at,
        "Last progress (UTC)": lambda row: row.state.last_progress_at,
        "Tokens today": lambda row: row.tokens if row.state.knows_tokens else None,
        "Spend today (USD)": lambda row: csv_export.dollars(row.cost) if row.state.knows_cost else None,
        "Daily budget (USD)": lambda row: csv_export.dollars(row.budget) if row.budget is not None else None,
        "Open incident": lambda row: row.incident.pk if row.incident else None,
        "Acknowledged by": lambda row: row.incident.acknowledged_by if row.incident else None,
    }
    list_per_page = 50  # redrawn every two seconds
    destroys = ("incidents", "commands")
    explains_deletion = (
        "Its heartbeats and history are deleted too. A new heartbeat under this name creates a new agent, so stop the "
        "process first. This cannot be undone."
    )
    actions = ["pause_selected", "resume_selected", "maintenance_selected"]
    fieldsets = [
        ("About", {"classes": ["collapse"], "fields": ["description", ("owner", "runbook_url")]}),
        ("Deadlines", {"classes": ["collapse"], "fields": [("interval", "grace"), "progress_timeout"]}),
        ("Budgets", {"classes": ["collapse"], "fields": [("daily_budget_usd", "run_budget_usd"), "daily_token_limit"]}),
        (
            "Restarts",
            {
                "classes": ["collapse"],
                "fields": [("restart_policy", "unsafe_to_repeat"), ("restart_type", "restart_target")],
            },
        ),
        ("Names and labels", {"classes": ["collapse"], "fields": ["aliases", "kind", "labels"]}),
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
        Button("hold", "Hold", "front_hand", hold, explain_hold, holds.is_held),
        Button("end-hold", "End hold", "play_arrow", end_hold, hidden=lambda a: not holds.is_held(a)),
        Button(
            "pause", "Pause monitoring", "pause_circle", pausing.pause, pausing.explain,
            lambda a: a.paused_at is not None, choices=pausing.lengths,
        ),
        Button("resume", "Resume monitoring", "play_circle", pausing.resume, hidden=lambda a: a.paused_at is None),
        Button(
            "release", "Let another key report", "link_off", release, explain_release,
            lambda a: not services.has_bound_names(a),
        ),
    )  # fmt: skip

    class Media:
        js = ("agents/selection.js",)

    def get_urls(self) -> list[URLPattern]:
        return [BacktestPage(self).url, SchedulePage(self).url, *super().get_urls()]

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        return agent_status.worst_first(timezone.now())

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return with_host(agent_status.with_related(super().get_queryset(request)))

    def table(self, request: HttpRequest, found: ChangeList, now: datetime) -> dict[str, Any]:
        rows = agent_status.with_strips(agent_status.statuses(found.result_list, now), now)
        actions, here = (*selection.OPERATE, selection.DELETE), request.get_full_path()
        return {"rows": rows, "selection": selection.selection_for(request, rows, found.result_count, here, actions)}

    def export_rows(self, rows: list[Agent], now: datetime) -> list[agent_status.AgentStatus]:
        return agent_status.statuses(rows, now)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Agent], *args: Any) -> HttpResponse | None:
        # Agents selected one by one stay selected, even if the filter no longer matches them.
        is_individual = request.POST.get("select_across", "0") == "0"
        return super().response_action(request, self.get_queryset(request) if is_individual else queryset)

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
        """For people with read access only."""
        return ", ".join(services.aliases_of(obj)) or "–"

    @admin.display(description="Active rules")
    def rules_in_force(self, obj: Agent) -> str:
        return in_words(obj)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        agent: Agent | None = context.get("original")
        if agent is not None:
            for part in ("now", "history", "beats", "incidents", "commands"):  # those that read something
                context |= self.live_context(request, agent, part)
            context |= {"title": agent.name, "subtitle": None, "backtest": "admin:agents_agent_backtest"}
            context |= {"sections": form_sections(context["adminform"], agent)}
            context["media"] += history_view.MEDIA
        return super().render_change_form(request, context, *args, **kwargs)

    def live_context(self, request: HttpRequest, row: Agent, part: str) -> dict[str, Any]:
        now = timezone.now()
        shared = {"now": now, "original": row, "opts": self.opts}
        if part in ("head", "now"):
            return {**shared, **self._now(request, row, now)}
        if part in ("history", "better"):
            return {**shared, **history_view.past(request, row, target_text(row), now)}
        if part == "beats":
            return {**shared, "beats": Heartbeat.objects.filter(agent=row).order_by("-id")[:BEATS_SHOWN]}
        if part == "incidents":
            return {**shared, "incidents": row.incidents.all()[:INCIDENTS_SHOWN]}
        return {**shared, "commands": row.commands.all()[:COMMANDS_SHOWN]}

    def _now(self, request: HttpRequest, agent: Agent, now: datetime) -> dict[str, Any]:
        [row] = agent_status.statuses([agent], now)
        signals = agent_status.by_cause(agent.signals.filter(cleared_at__isnull=True), row.status)
        memory = agent.memory.rules
        return {
            "row": row,
            "signals": signals,
            "is_unproven": agent_status.is_unproven(signals, row.status),
            "buttons": self.buttons_for(request, agent),
            "aliases": services.aliases_of(agent),
            "target": target_text(agent),
            "pace": burn_rate.pace(memory.get(cost.KIND, {}), now),
            "version": version.running(memory.get(version.KIND, {}), now),
            **history_view.activity(agent, row, now),
        }

    # Writes

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        now, by = timezone.now(), actor(request)
        if isinstance(form, AgentForm):
            # The form has already changed `obj`; the service compares with the stored row.
            stored = Agent.objects.select_related("project__team").get(pk=obj.pk)
            services.change_agent(agent=stored, changes=form.changes, actor=by, now=now)
            return
        created = services.add_agent(project=obj.project, name=obj.name, kind=obj.kind, actor=by, now=now)
        obj.pk = created.pk

    def delete_model(self, request: HttpRequest, obj: Agent) -> None:
        services.delete_agent(agent=obj, actor=actor(request), now=timezone.now())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Agent]) -> None:
        # Each deletion takes a moment and there may be thousands, so stop before a proxy gives up on the request.
        stop_at, rows = monotonic() + DELETE_TIME_LIMIT, list(queryset)
        for done, agent in enumerate(rows):
            if monotonic() >= stop_at:
                message = (
                    f"Deleted {done} of {len(rows)} agents in the time available. Select the rest and delete again."
                )
                raise ApiError(409, "partly", message)
            self.delete_model(request, agent)

    @admin.action(description="Pause monitoring of the selected agents", permissions=[Action.OPERATE.value])
    def pause_selected(self, request: HttpRequest, queryset: QuerySet[Agent]) -> HttpResponse:
        if "choice" not in request.POST:
            return pausing.ask(request, or_404(list(queryset.select_related("project")) or None))
        run = partial(pausing.pause, choice=request.POST["choice"])
        return self._for_each(request, queryset, run, "Monitoring paused for")

    @admin.action(description="Resume monitoring of the selected agents", permissions=[Action.OPERATE.value])
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Agent]) -> HttpResponse:
        return self._for_each(request, queryset, pausing.resume, "Monitoring resumed for")

    @admin.action(description="Schedule maintenance for the selected agents", permissions=[Action.OPERATE.value])
    def maintenance_selected(self, request: HttpRequest, queryset: QuerySet[Agent]) -> HttpResponse:
        return maintenance.ask(request, or_404(list(queryset) or None))

    def _for_each(self, request: HttpRequest, agents: QuerySet[Agent], run: Run, done: str) -> HttpResponse:
        """Skips and reports agents for which `run` is refused."""
        refused: Counter[str] = Counter()
        rows, now = list(agents.order_by("pk")), timezone.now()
        for agent in rows:
            try:
                run(agent, actor(request), "", now)
            except ApiError as refusal:
                refused[refusal.message] += 1
        self.message_user(request, f"{done} {_agents(len(rows) - refused.total())}.")
        for reason, count in refused.items():
            self.message_user(request, f"Skipped {_agents(count)}: {reason}", messages.WARNING)
        return HttpResponseRedirect(selection.back(request))


def _agents(count: int) -> str:
    return f"{count} agent" if count == 1 else f"{count} agents"
