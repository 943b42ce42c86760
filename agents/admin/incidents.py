"""The list of incidents, open ones first, and an incident's page: read, and acted upon with its buttons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Case, Q, QuerySet, Value, When
from django.forms import Media
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone

from agents.admin import agents
from agents.admin.buttons import Button, WithButtons
from agents.admin.rules import address
from agents.commands import restart_context
from agents.domain import restart_policy
from agents.incidents import actions, related
from agents.models import Command, Incident, Signal, Status
from agents.reporting import formatting
from agents.reporting.payloads import incident_url
from agents.rules.observers import version
from agents.rules.observers.version import FRESH
from teams.tenant_admin import allowed_operator


def acknowledge(incident: Incident, by: str, reason: str, now: datetime) -> str:
    actions.acknowledge(incident=incident, actor=by, now=now)
    return "Acknowledged: the others see that you look after it."


def resolve(incident: Incident, by: str, reason: str, now: datetime) -> str:
    actions.resolve(incident=incident, actor=by, now=now)
    return "Resolved. If the same goes wrong again, that is a new incident."


def mute(incident: Incident, by: str, reason: str, now: datetime) -> str:
    actions.mute(incident=incident, actor=by, now=now)
    return "Muted: nobody is told more of this incident, not even its end."


def note(incident: Incident, by: str, reason: str, now: datetime) -> str:
    actions.note(incident=incident, actor=by, text=reason, now=now)
    return "Noted on the timeline."


def over(incident: Incident) -> bool:
    return incident.resolved_at is not None


def no_target(incident: Incident) -> bool:
    return over(incident) or not agents.target_text(incident.agent)


def asks_for_restart(incident: Incident) -> bool:
    """Whether a restart is what helps: it is silent, stuck or gone, not turning in a circle or too dear."""
    state = incident.agent.state
    cured = restart_policy.cures([incident.kind], runner_down=state.runner_down)
    return bool(cured) or state.status in (Status.DOWN, Status.STALLED)


def _tried(incident: Incident, signals: Sequence[Signal], now: datetime) -> dict[str, Any]:
    """What was tried, what is under way, and what the watchdog does next."""
    commands = list(incident.commands.all())
    live = next((command for command in commands if command.state in Command.LIVE), None)
    wrong = {signal.kind for signal in signals if not signal.cleared_at and signal.agent_id == incident.agent_id}
    outlook = None if live or no_target(incident) else restart_context.next_restart(incident, wrong, now)
    done = (command.pk for command in commands if command.action == Command.Action.RESTART and command.leased_at)
    proven_by = next(done, None) if incident.recovered_in is not None else None
    return {"commands": commands, "live": live, "outlook": outlook, "proven_by": proven_by}


class Known(NamedTuple):
    """A signal, what it stands on in words, and where to set that it may be so."""

    signal: Signal
    told: formatting.Explained
    address: str


def _known(signal: Signal) -> Known:
    told = formatting.explained(signal.kind, signal.evidence, timezone.get_current_timezone())
    return Known(signal, told, address(signal.agent, told.rule, told.setting) if told.setting else "")


def _versions(incident: Incident) -> dict[str, Any]:
    """What ran when it began, and what was deployed while it lasted; one query."""
    memory = incident.agent.memory.rules.get(version.KIND, {})
    until = incident.resolved_at or timezone.now()
    later = [one for one in version.deploys(memory) if incident.started_at < one.since <= until]
    ran = version.running(memory, incident.started_at)
    return {"ran": ran, "is_fresh": ran and incident.started_at - ran.since < FRESH, "deployed": later}


MEDIA: Final = Media(js=["agents/print.js"])
# Buttons that a phone keeps at its lower edge.
AT_HAND: Final = 2
# Where a restart is what helps.
TONES: Final = {"restart": "primary", "acknowledge": "plain"}


class StateFilter(admin.SimpleListFilter):
    title = parameter_name = "state"
    QUERIES = {
        "open": Q(resolved_at__isnull=True, acknowledged_at__isnull=True),
        "acknowledged": Q(resolved_at__isnull=True, acknowledged_at__isnull=False),
        "resolved": Q(resolved_at__isnull=False),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in self.QUERIES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Incident]) -> QuerySet[Incident]:
        return queryset.filter(self.QUERIES.get(self.value() or "", Q()))


@admin.register(Incident)
class IncidentPage(WithButtons):
    add_action = change_action = delete_action = None
    table_template = "agents/incidents_table.html"
    live_parts = {"now": "agents/incident_now.html"}
    list_display = ["reason", "agent"]  # in words; the table shows more
    sortable_by = ()
    list_filter = [StateFilter, "kind", "project"]
    list_select_related = ["project__team", "agent__state"]
    search_fields = ["reason", "agent__name"]
    search_help_text = "Search agents and reasons"
    actions = None
    buttons = (
        Button(
            "acknowledge", "Acknowledge", "visibility", acknowledge,
            hidden=lambda i: bool(i.acknowledged_at) or over(i), tone="primary",
        ),
        Button("resolve", "Resolve", "check_circle", resolve, hidden=over),
        Button(
            "restart", "Restart", "restart_alt", lambda i, *rest: agents.restart(i.agent, *rest),
            lambda i: agents.explain_restart(i.agent), no_target, command=Command.Action.RESTART,
        ),
        Button(
            "stop", "Stop", "stop_circle", lambda i, *rest: agents.stop(i.agent, *rest),
            lambda i: agents.explain_stop(i.agent), no_target, "danger", Command.Action.STOP,
        ),
        Button(
            "pause", "Pause", "pause_circle", lambda i, *rest: agents.pause(i.agent, *rest),
            hidden=lambda i: over(i) or i.agent.paused_at is not None,
        ),
        Button("mute", "Mute", "notifications_off", mute, hidden=lambda i: over(i) or i.muted_at is not None),
        Button("note", "Note", "edit_note", note, apart=True),
    )  # fmt: skip

    def buttons_for(self, request: HttpRequest, row: Incident) -> list[Button]:
        """What helps most comes first: it is what is at hand on a phone. What would be refused comes last."""
        found = sorted(super().buttons_for(request, row), key=lambda button: bool(button.why_not))
        may = [button.name for button in found if not button.why_not]
        if "restart" not in may or not asks_for_restart(row):
            return found
        found.sort(key=lambda button: button.name != "restart")
        return [replace(one, tone=TONES.get(one.name, one.tone)) for one in found]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return allowed_operator(request)

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        return [Case(When(resolved_at__isnull=True, then=Value(0)), default=Value(1)).asc(), "-opened_at", "-pk"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("project__team", "agent__state", "agent__project__team")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        incident = self.get_object(request, object_id)
        if request.method != "GET" or not self.has_view_permission(request, incident):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            **self.live_context(request, incident, "now"),
            "title": f"{incident.agent}: {formatting.plain(incident.reason)}",
            "media": self.media + MEDIA,
            "may_delete": self.has_delete_permission(request, incident),
            "may_note": self.has_operate_permission(request, incident),
            "neighbours": related.at_the_same_time(incident),
            "earlier": related.earlier(incident),
        }
        return TemplateResponse(request, "agents/incident.html", context)

    def live_context(self, request: HttpRequest, row: Incident, part: str) -> dict[str, Any]:
        now, buttons = timezone.now(), self.buttons_for(request, row)
        at_hand = [button for button in buttons if not button.why_not][:AT_HAND]
        signals = list(row.signals.select_related("agent__project"))
        return {
            "now": now,
            "original": row,
            "opts": self.opts,
            "at_hand": at_hand,
            "buttons": buttons[len(at_hand) :],
            "out_of_reach": not over(row) and asks_for_restart(row) and no_target(row),
            "may_configure": self.has_configure_permission(request, row),
            "known": [_known(signal) for signal in sorted(signals, key=lambda one: one.cleared_at is not None)],
            "events": row.events.prefetch_related("deliveries__channel"),
            "url": incident_url(row.pk),
            **_tried(row, signals, now),
            **_versions(row),
        }
