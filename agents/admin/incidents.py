"""The list of incidents, open ones first, and an incident's page with its buttons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar, Final, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import (
    Case,
    DateTimeField,
    DurationField,
    ExpressionWrapper,
    F,
    Q,
    QuerySet,
    Value,
    When,
    prefetch_related_objects,
)
from django.db.models.functions import Coalesce, Greatest
from django.forms import Media
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone

from agents.admin import agents, pausing
from agents.admin.buttons import Button, Run, WithButtons
from agents.admin.filters import AGENT, AgentFilter
from agents.admin.rules import setting_url
from agents.commands import restart_context
from agents.domain import restart_policy
from agents.incidents import actions, related, snoozes
from agents.models import Command, Incident, Signal, Status, naming_signals
from agents.reporting import formatting, history, last_words
from agents.reporting.payloads import incident_url
from agents.rules.observers import version
from agents.rules.observers.version import FRESH
from teams import csv_export
from teams.access import is_operator
from teams.admin.projects import actor
from teams.errors import ApiError
from teams.roles import Action
from teams.sorting import Sort
from teams.times import exact


def acknowledge(incident: Incident, by: str, reason: str, now: datetime) -> str:
    actions.acknowledge(incident=incident, actor=by, now=now)
    return "Acknowledged. Your team can see you’re on it."


def resolve(incident: Incident, by: str, reason: str, now: datetime) -> str:
    actions.resolve(incident=incident, actor=by, now=now)
    return "Resolved. If the problem occurs again, a new incident opens."


def mute(incident: Incident, by: str, reason: str, now: datetime) -> str:
    actions.mute(incident=incident, actor=by, now=now)
    return "Muted. No further notifications, including recovery."


def unmute(incident: Incident, by: str, reason: str, now: datetime) -> str:
    actions.unmute(incident=incident, actor=by, now=now)
    return "Unmuted: notifications are sent again."


def snooze_lengths() -> dict[str, str]:
    """What a person may choose, with the times in their own zone."""
    return snoozes.labels(timezone.now(), timezone.get_current_timezone_name())


def explain_snooze(incident: Incident) -> str:
    return (
        "Nobody is notified until then, not even of the recovery. Then a reminder is sent if nobody has acknowledged "
        "it. If the incident becomes critical, you are notified at once."
    )


def snooze(incident: Incident, by: str, reason: str, now: datetime, choice: str = "") -> str:
    zone = timezone.get_current_timezone()
    until = snoozes.end_of(choice, now, timezone.get_current_timezone_name())
    snoozes.snooze(incident=incident, until=until, actor=by, now=now)
    return f"Snoozed until {exact(until, zone)}."


def unsnooze(incident: Incident, by: str, reason: str, now: datetime) -> str:
    snoozes.end(incident=incident, actor=by, now=now)
    return "The snooze is over: notifications are sent again."


def note(incident: Incident, by: str, reason: str, now: datetime) -> str:
    actions.note(incident=incident, actor=by, text=reason, now=now)
    return "Note added to the timeline."


def is_resolved(incident: Incident) -> bool:
    return incident.resolved_at is not None


def no_target(incident: Incident) -> bool:
    return is_resolved(incident) or not agents.target_text(incident.agent)


def is_cured_by_restart(incident: Incident) -> bool:
    """Whether a restart helps: for a silent, stalled or crashed agent, not for loops or spend."""
    state = incident.agent.state
    cured = restart_policy.cures([incident.kind], runner_down=state.runner_down)
    return bool(cured) or state.status in (Status.DOWN, Status.STALLED)


def _restarts(incident: Incident, signals: Sequence[Signal], now: datetime) -> dict[str, Any]:
    """Restart attempts, the command in progress, and what the watchdog does next."""
    commands = list(incident.commands.all())
    live = next((command for command in commands if command.state in Command.LIVE), None)
    own = (signal for signal in signals if not signal.cleared_at and signal.agent_id == incident.agent_id)
    open_kinds = restart_context.kinds_of(own)
    outlook = None if live or no_target(incident) else restart_context.next_restart(incident, open_kinds, now)
    handed_out = (command.pk for command in commands if command.action == Command.Action.RESTART and command.leased_at)
    worked = next(handed_out, None) if incident.recovered_in is not None else None
    at, state = None if is_resolved(incident) else incident.restarted_at, incident.agent.state
    return {
        "commands": commands,
        "live": live,
        "outlook": outlook,
        "worked": worked,
        # Although something else is still wrong. Heartbeats alone prove nothing of an agent that reports progress.
        "is_back": at is not None
        and not restart_context.is_unproven(incident, state)
        and restart_context.has_recovered(state, at, open_kinds),
    }


class ExplainedSignal(NamedTuple):
    """A signal with its evidence, and the URL of the setting to change if the behaviour is expected."""

    signal: Signal
    evidence: formatting.Explanation
    setting_url: str


def _explained(signal: Signal) -> ExplainedSignal:
    evidence = formatting.explained(signal.kind, signal.evidence, timezone.get_current_timezone())
    url = setting_url(signal.agent, evidence.rule, evidence.setting) if evidence.setting else ""
    return ExplainedSignal(signal, evidence, url)


def _versions(incident: Incident) -> dict[str, Any]:
    """The version at the start of the incident, deploys during it, and what webhooks told around it; two queries."""
    memory = incident.agent.memory.rules.get(version.KIND, {})
    until = incident.resolved_at or timezone.now()
    deploys = [deploy for deploy in version.deploys(memory) if incident.started_at < deploy.since <= until]
    running = version.running(memory, incident.started_at)
    is_fresh = running and incident.started_at - running.since < FRESH
    outside = history.around(incident.agent, incident.started_at - related.SAME_TIME, until)
    return {"version": running, "is_fresh": is_fresh, "deploys": deploys, "outside": outside}


def _last_words(incident: Incident, signals: Sequence[Signal], now: datetime) -> dict[str, Any]:
    """What its agent did last; of an incident that many share, nothing."""
    if incident.together:
        return {}
    activity, ended = last_words.activity(incident, signals, now), last_words.exit_reason(incident, signals)
    return {"activity": activity, "last_call": next(iter(activity.calls), None), "exit_reason": ended}


MEDIA: Final = Media(js=["agents/print.js"])
# Buttons that stay at the lower edge of a phone.
MAX_PINNED: Final = 2
# Of a number that a search may mean; every database has room for as many.
MAX_DIGITS: Final = 18
# Button styles if a restart helps.
TONES: Final = {"restart": "primary", "acknowledge": "plain"}


class StateFilter(admin.SimpleListFilter):
    title = parameter_name = "state"
    QUERIES = {
        "open": Q(resolved_at__isnull=True, acknowledged_at__isnull=True),
        "acknowledged": Q(resolved_at__isnull=True, acknowledged_at__isnull=False),
        "resolved": Q(resolved_at__isnull=False),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state) for state in self.QUERIES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Incident]) -> QuerySet[Incident]:
        return queryset.filter(self.QUERIES.get(self.value() or "", Q()))


def _duration(now: datetime) -> ExpressionWrapper[Any]:
    ended = Coalesce("resolved_at", Value(now), output_field=DateTimeField())
    return ExpressionWrapper(ended - F("started_at"), output_field=DurationField())


def _spent(now: datetime) -> Case:
    """As `Incident.spent`."""
    so_far = Greatest(F("cost"), F("agent__state__cost_total") - F("cost_before"))
    return Case(When(resolved_at__isnull=False, then=F("cost")), default=so_far)


@admin.register(Incident)
class IncidentPage(WithButtons):
    add_action = change_action = delete_action = None
    table_template = "agents/incidents_table.html"
    live_parts = {"now": "agents/incident_now.html"}
    list_display = ["reason", "agent"]  # used in sentences; the table shows more
    sortable_by = ()
    list_filter = [StateFilter, "kind", "project", AgentFilter]
    unsaved_filters = (AGENT,)
    list_select_related = ["project__team", "agent__state"]
    sorts = (
        Sort("problem", "Problem", "kind"),
        Sort("agent", "Agent", "agent__name"),
        Sort("started", "Started", "started_at", newest_first=True),
        Sort("duration", "Duration", _duration, newest_first=True),
        Sort("cost", "Cost", _spent, newest_first=True),
    )
    export_columns: ClassVar = {
        "Incident": lambda row: row.pk,
        "Team": lambda row: row.project.team,
        "Project": lambda row: row.project,
        "Agent": lambda row: row.agent,
        "State": lambda row: row.state,
        "Severity": lambda row: row.severity,
        "Kind": lambda row: row.kind_label,
        "Reason": lambda row: formatting.plain(row.reason),
        "Started (UTC)": lambda row: row.started_at,
        "Opened (UTC)": lambda row: row.opened_at,
        "Acknowledged (UTC)": lambda row: row.acknowledged_at,
        "Acknowledged by": lambda row: row.acknowledged_by,
        "Resolved (UTC)": lambda row: row.resolved_at,
        "Resolved by": lambda row: row.resolved_by,
        "Ending": lambda row: row.ending,
        "Spend (USD)": lambda row: csv_export.dollars(row.spent),
        "Tokens without a known price": lambda row: row.spent_unpriced,
        "Restarts": lambda row: row.restarts,
    }
    search_fields = ["reason", "agent__name"]
    search_help_text = "Search agents, reasons and numbers"
    actions = ["acknowledge_selected", "resolve_selected"]
    buttons = (
        Button(
            "acknowledge", "Acknowledge", "visibility", acknowledge,
            hidden=lambda i: bool(i.acknowledged_at) or is_resolved(i), tone="primary",
        ),
        Button("resolve", "Resolve", "check_circle", resolve, hidden=is_resolved),
        Button(
            "restart", "Restart", "restart_alt", lambda i, *rest: agents.restart(i.agent, *rest),
            lambda i: agents.explain_restart(i.agent), no_target, command=Command.Action.RESTART,
        ),
        Button(
            "stop", "Stop", "stop_circle", lambda i, *rest: agents.stop(i.agent, *rest),
            lambda i: agents.explain_stop(i.agent), no_target, "danger", Command.Action.STOP,
        ),
        Button(
            "pause", "Pause monitoring", "pause_circle",
            lambda i, *rest, **chosen: pausing.pause(i.agent, *rest, **chosen),
            lambda i: pausing.explain(i.agent), lambda i: is_resolved(i) or i.agent.paused_at is not None,
            choices=pausing.lengths,
        ),
        Button(
            "resume", "Resume monitoring", "play_circle", lambda i, *rest: pausing.resume(i.agent, *rest),
            hidden=lambda i: i.agent.paused_at is None,
        ),
        Button(
            "snooze", "Snooze", "snooze", snooze, explain_snooze,
            lambda i: is_resolved(i) or i.snoozed_until is not None, choices=snooze_lengths,
        ),
        Button(
            "unsnooze", "End snooze", "notifications_active", unsnooze,
            hidden=lambda i: is_resolved(i) or i.snoozed_until is None,
        ),
        Button("mute", "Mute", "notifications_off", mute, hidden=lambda i: is_resolved(i) or i.muted_at is not None),
        Button(
            "unmute", "Unmute", "notifications_active", unmute, hidden=lambda i: is_resolved(i) or i.muted_at is None,
        ),
        Button("note", "Note", "edit_note", note, is_separate=True),
    )  # fmt: skip

    def buttons_for(self, request: HttpRequest, row: Incident) -> list[Button]:
        """The most helpful button first, because phones pin the first ones; refused actions last."""
        buttons = sorted(super().buttons_for(request, row), key=lambda button: bool(button.why_not))
        available = [button.name for button in buttons if not button.why_not]
        if "restart" not in available or not is_cured_by_restart(row):
            return buttons
        buttons.sort(key=lambda button: button.name != "restart")
        return [replace(button, tone=TONES.get(button.name, button.tone)) for button in buttons]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return is_operator(request)

    def get_actions(self, request: HttpRequest) -> Any:
        """Operators delete incidents one by one, on their pages."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    @admin.action(description="Acknowledge selected incidents", permissions=[Action.OPERATE.value])
    def acknowledge_selected(self, request: HttpRequest, queryset: QuerySet[Incident]) -> None:
        unseen = queryset.filter(acknowledged_at=None)
        self._for_each(request, unseen, queryset.count(), acknowledge, "Acknowledged")

    @admin.action(description="Resolve selected incidents", permissions=[Action.OPERATE.value])
    def resolve_selected(self, request: HttpRequest, queryset: QuerySet[Incident]) -> None:
        self._for_each(request, queryset, queryset.count(), resolve, "Resolved")

    def _for_each(
        self, request: HttpRequest, incidents: QuerySet[Incident], selected: int, run: Run, done: str
    ) -> None:
        """Those that are over, or acknowledged already, are left as they are; a refusal is reported with its reason."""
        rows, refused = list(incidents.filter(resolved_at=None).order_by("pk")), Counter[str]()
        for incident in rows:
            try:
                run(incident, actor(request), "", timezone.now())
            except ApiError as refusal:
                refused[refusal.message] += 1
        self.message_user(request, f"{done} {len(rows) - refused.total()} of {selected} incidents.")
        for reason, count in refused.items():
            self.message_user(request, f"Skipped {count}: {reason}", messages.WARNING)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Also by number, with or without `#`, as messages and the audit log name incidents."""
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        number = search_term.strip().removeprefix("#")
        is_number = number.isascii() and number.isdecimal() and len(number) <= MAX_DIGITS
        return (found | queryset.filter(pk=number) if is_number else found), may_repeat

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        return [Case(When(resolved_at__isnull=True, then=Value(0)), default=Value(1)).asc(), "-opened_at", "-pk"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("project__team", "agent__state", "agent__project__team")

    def table(self, request: HttpRequest, changelist: ChangeList, now: datetime) -> dict[str, Any]:
        return {"rows": self.export_rows(list(changelist.result_list), now)}

    def export_rows(self, rows: list[Incident], now: datetime) -> list[Incident]:
        prefetch_related_objects(rows, naming_signals())
        return rows

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
            "related": related.at_the_same_time(incident),
            "previous": related.earlier(incident),
        }
        return TemplateResponse(request, "agents/incident.html", context)

    def live_context(self, request: HttpRequest, row: Incident, part: str) -> dict[str, Any]:
        now, buttons = timezone.now(), self.buttons_for(request, row)
        pinned = [button for button in buttons if not button.why_not][:MAX_PINNED]
        signals = list(row.signals.select_related("agent__project"))
        row.named_after = [each for each in signals if (each.agent_id, each.kind) == (row.agent_id, row.kind)]
        return {
            "now": now,
            "original": row,
            "opts": self.opts,
            "pinned": pinned,
            "buttons": buttons[len(pinned) :],
            "cannot_restart": not is_resolved(row) and is_cured_by_restart(row) and no_target(row),
            "may_configure": self.has_configure_permission(request, row),
            "explained": [
                _explained(each) for each in sorted(signals, key=lambda signal: signal.cleared_at is not None)
            ],
            "events": row.events.prefetch_related("deliveries__channel"),
            "url": incident_url(row.pk),
            **_restarts(row, signals, now),
            **_versions(row),
            **_last_words(row, signals, now),
        }
