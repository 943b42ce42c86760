"""Maintenance windows: scheduled in a form or for selected agents, shown in a calendar, ended with a button."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from itertools import groupby
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from agents.admin import selection
from agents.admin.buttons import Button, WithButtons
from agents.fleet import maintenance
from agents.models import Agent, Maintenance
from teams.access import teams_of
from teams.admin.projects import actor
from teams.changelists import Empty
from teams.forms import LabelsField
from teams.roles import Action
from teams.sorting import Sort
from teams.tenant_admin import or_404
from teams.times import exact

WEEKS: Final = 5
DEFAULT_LENGTH: Final = timedelta(hours=1)
MORNING: Final = time(9)
LENGTHS: Final = {"30m": timedelta(minutes=30), "1h": timedelta(hours=1), "4h": timedelta(hours=4)}
TOMORROW, CUSTOM = "tomorrow", "own"
LABELS: Final = {"30m": "30 minutes", "1h": "1 hour", "4h": "4 hours", TOMORROW: "Until tomorrow"}
REASON_HELP: Final = "Shown on the agents’ pages."


class MaintenanceForm(forms.ModelForm[Maintenance]):
    labels = LabelsField(
        label="Only agents with labels",
        help_text="Agents must have all of these, one name=value per line, e.g. host=worker-3. Empty: all agents.",
    )

    class Meta:
        model = Maintenance
        fields = ("project", "reason", "starts_at", "ends_at", "labels")
        labels = {"reason": "Reason", "starts_at": "Start", "ends_at": "End"}
        help_texts = {
            "reason": REASON_HELP,
            "starts_at": "In your time zone. A time in the past starts the maintenance now.",
            "ends_at": "Monitoring resumes then, with fresh deadlines. Up to 30 days after the start.",
        }

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("starts_at") and cleaned.get("ends_at"):
            _check_times(self, cleaned, timezone.now())
        return cleaned


def _check_times(form: forms.BaseForm, cleaned: dict[str, Any], now: datetime) -> None:
    problem = maintenance.time_error(cleaned["starts_at"], cleaned["ends_at"], now)
    if problem is not None:
        field, sentence = problem
        form.add_error(field, f"{sentence[0].upper()}{sentence[1:]}.")


def end_of(duration: str, now: datetime) -> datetime:
    """The end of a window that starts now; "tomorrow" is in the time zone of `now`."""
    if duration in LENGTHS:
        return now + LENGTHS[duration]
    return datetime.combine(now.date() + timedelta(days=1), MORNING, now.tzinfo)


class _BrowserCalendar(forms.DateTimeInput):
    """A date and time field with the browser's calendar."""

    def __init__(self) -> None:
        super().__init__({"type": "datetime-local"}, "%Y-%m-%dT%H:%M")


class SelectedAgentsForm(forms.Form):
    """Duration and reason for agents that are already selected. `cleaned_data` has `starts_at` and `ends_at`."""

    lasts = forms.ChoiceField(label="Duration", widget=forms.RadioSelect, initial="1h")
    starts_at = forms.DateTimeField(label="Start", required=False, widget=_BrowserCalendar)
    ends_at = forms.DateTimeField(label="End", required=False, widget=_BrowserCalendar)
    reason = forms.CharField(label="Reason", max_length=200, help_text=REASON_HELP)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.now = timezone.localtime()
        self.initial = {"starts_at": self.now, "ends_at": self.now + DEFAULT_LENGTH, **self.initial}
        field: Any = self.fields["lasts"]
        field.choices = [*((duration, self._label(duration)) for duration in LABELS), (CUSTOM, "Custom times")]

    def _label(self, duration: str) -> str:
        end = end_of(duration, self.now)
        when = f"{end:%H:%M}" if end.date() == self.now.date() else f"{end.day} {end:%b, %H:%M}"
        return f"{LABELS[duration]}, {when}" if duration == TOMORROW else f"{LABELS[duration]}, until {when}"

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("lasts") in LABELS:
            return {**cleaned, "starts_at": self.now, "ends_at": end_of(cleaned["lasts"], self.now)}
        if cleaned.get("lasts") == CUSTOM and not self.errors:
            self._check_custom(cleaned)
        return cleaned

    def _check_custom(self, cleaned: dict[str, Any]) -> None:
        missing = [name for name in ("starts_at", "ends_at") if not cleaned.get(name)]
        for name in missing:
            self.add_error(name, "Enter both times.")
        if not missing:
            _check_times(self, cleaned, self.now)


def ask(request: HttpRequest, agents: Iterable[Agent], form: SelectedAgentsForm | None = None) -> TemplateResponse:
    """The page that asks for duration and reason, and lists these agents."""
    rows = sorted(agents, key=lambda agent: (agent.project.name, agent.project_id, agent.name))
    context = {
        **admin.site.each_context(request),
        "title": "Schedule maintenance",
        "opts": Maintenance._meta,
        "form": form or SelectedAgentsForm(),
        "agents": rows,
        "projects": [(project, list(own)) for project, own in groupby(rows, key=lambda agent: agent.project)],
        "ids": ",".join(str(agent.pk) for agent in rows),
        "back": selection.back(request),
    }
    return TemplateResponse(request, "agents/maintenance_plan.html", context)


def end(window: Maintenance, by: str, reason: str, now: datetime) -> str:
    # The window may have started or ended since the page was shown.
    if window.closed_at is not None:
        return "This maintenance had already ended."
    maintenance.end(window=window, actor=by, now=now)
    return "Maintenance ended. Monitoring resumed." if window.opened_at else "Maintenance cancelled."


@admin.register(Maintenance)
class MaintenancePage(WithButtons):
    form = MaintenanceForm
    add_action = Action.OPERATE
    change_action = delete_action = None
    change_list_template = "agents/maintenance.html"
    change_form_template = "agents/maintenance_page.html"
    live_parts = {"now": "agents/maintenance_now.html"}
    table_template = "agents/maintenance_table.html"
    list_display = ["reason", "project"]  # used in sentences; the table shows more
    list_filter = ["project"]
    list_select_related = ["project__team"]
    sorts = (
        Sort("reason", "Reason", "reason"),
        Sort("start", "Start", "starts_at", newest_first=True),
        Sort("end", "End", "ends_at", newest_first=True),
        Sort("scheduled", "Scheduled", "created_at", newest_first=True),
    )
    fields = ["project", "reason", "starts_at", "ends_at", "labels"]
    actions = ["end_selected"]
    buttons = (
        Button(
            "end", "End now", "event_available", end, hidden=lambda window: window.closed_at or not window.opened_at
        ),
        Button(
            "cancel",
            "Cancel maintenance",
            "event_busy",
            end,
            hidden=lambda window: window.closed_at or window.opened_at,
        ),
    )
    empty = Empty(
        "No maintenance scheduled",
        "During maintenance, agents are not evaluated, no notifications are sent and nothing is restarted "
        "automatically. Schedule it before you change something your agents depend on.",
        "Schedule maintenance",
        "Members of the team and above can schedule maintenance.",
    )

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.plan)
        return [path("plan/", view, name="agents_maintenance_plan"), *super().get_urls()]

    @admin.action(permissions=[Action.OPERATE.value])
    def plan(self, request: HttpRequest) -> HttpResponse:
        """For the agents with the ids in `agents`, as far as the person may operate them."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        data = request.POST if request.method == "POST" else request.GET
        if not data.get("agents"):
            messages.info(request, "Select agents first.")
            return HttpResponseRedirect(selection.back(request))
        agents = _operable(request, data["agents"])
        form = SelectedAgentsForm(request.POST) if request.method == "POST" else None
        if form is None or not form.is_valid():
            return ask(request, agents, form)
        times = {name: form.cleaned_data[name] for name in ("starts_at", "ends_at")}
        maintenance.schedule_for(
            agents=agents, reason=form.cleaned_data["reason"], actor=actor(request), now=timezone.now(), **times
        )
        messages.success(request, _scheduled(len(agents), times["ends_at"]))
        return HttpResponseRedirect(selection.back(request))

    def get_readonly_fields(self, request: HttpRequest, obj: Maintenance | None = None) -> list[str]:
        return ["labelled", "agents", "created_by", "opened_at", "closed_at"] if obj else []

    def get_fields(self, request: HttpRequest, obj: Maintenance | None = None) -> list[Any]:
        return [*(self.fields[:-1] if obj else self.fields), *self.get_readonly_fields(request, obj)]

    @admin.display(description="Only agents with labels")
    def labelled(self, obj: Maintenance) -> str:
        return ", ".join(f"{name}={value}" for name, value in sorted(obj.labels.items())) or "Any"

    @admin.display(description="Agents")
    def agents(self, obj: Maintenance) -> str:
        return ", ".join(obj.agent_names) or ("All with these labels" if obj.labels else "All in the project")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """One hour from now, as a starting point."""
        now = timezone.now().replace(second=0, microsecond=0)
        return {"starts_at": now, "ends_at": now + DEFAULT_LENGTH, **super().get_changeform_initial_data(request)}

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        window: Maintenance | None = kwargs.get("obj")
        if window is not None:
            context |= {**self.live_context(request, window, "now"), "title": str(window), "subtitle": None}
        return super().render_change_form(request, context, *args, **kwargs)

    def live_context(self, request: HttpRequest, row: Maintenance, part: str) -> dict[str, Any]:
        return {"now": timezone.now(), "original": row, "row": row, "buttons": self.buttons_for(request, row)}

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        fields = {name: form.cleaned_data[name] for name in ("reason", "starts_at", "ends_at", "labels")}
        created = maintenance.schedule(project=obj.project, actor=actor(request), now=timezone.now(), **fields)
        obj.pk = created.pk

    @admin.action(description="End or cancel selected maintenance", permissions=["operate"])
    def end_selected(self, request: HttpRequest, queryset: QuerySet[Maintenance]) -> None:
        for window in queryset.select_related("project__team"):
            maintenance.end(window=window, actor=actor(request), now=timezone.now())
        messages.success(request, "Maintenance ended. Monitoring resumed.")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        windows = Maintenance.objects.filter(project__team__in=teams_of(request.user)).select_related("project")
        weeks = calendar(windows, timezone.localtime())
        context = {
            **(extra_context or {}),
            "weeks": weeks,
            "has_windows": any(cell["windows"] for week in weeks for cell in week),
            "today": timezone.localdate(),
        }
        return super().changelist_view(request, context)


def _operable(request: HttpRequest, ids: str) -> list[Agent]:
    """Raises 404 if the person may operate none of them."""
    wanted = [int(pk) for pk in ids.split(",") if pk.isascii() and pk.isdigit() and len(pk) < 19]
    operable = Agent.objects.filter(project__team__in=teams_of(request.user, Action.OPERATE))
    agents: list[Agent] = or_404(list(operable.filter(pk__in=wanted).select_related("project__team")) or None)
    return agents


def _scheduled(count: int, until: datetime) -> str:
    who = "1 agent is" if count == 1 else f"{count:,} agents are"
    return f"{who} in maintenance until {exact(until, timezone.get_current_timezone())}."


def calendar(windows: QuerySet[Maintenance], now: datetime) -> list[list[dict[str, Any]]]:
    """This week and the following ones as days with their windows, in the person's time zone."""
    monday = now.date() - timedelta(days=now.weekday())
    days = [monday + timedelta(days=number) for number in range(7 * WEEKS)]
    first = datetime.combine(monday, datetime.min.time(), now.tzinfo)
    shown = list(
        windows.filter(ends_at__gt=first, starts_at__lt=first + timedelta(days=7 * WEEKS)).order_by("starts_at")
    )
    cells = [{"day": day, "windows": [window for window in shown if _touches(window, day, now)]} for day in days]
    return [cells[at : at + 7] for at in range(0, len(cells), 7)]


def _touches(window: Maintenance, day: date, now: datetime) -> bool:
    begins, ends = (moment.astimezone(now.tzinfo) for moment in (window.starts_at, window.ends_at))
    return begins.date() <= day and (ends.date() > day or (ends.date() == day and ends > begins))
