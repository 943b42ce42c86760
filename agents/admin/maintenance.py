"""Maintenance windows: planned in a form, or for agents that were chosen; seen on a calendar, ended with a button."""

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
from teams.admin.projects import actor
from teams.changelists import Empty
from teams.forms import LabelsField
from teams.roles import Action
from teams.tenant_admin import or_404, teams_of
from teams.times import exact

WEEKS: Final = 5
USUAL: Final = timedelta(hours=1)
MORNING: Final = time(9)
SHORT: Final = {"30m": timedelta(minutes=30), "1h": timedelta(hours=1), "4h": timedelta(hours=4)}
TOMORROW, OWN = "tomorrow", "own"
LABELS: Final = {"30m": "30 minutes", "1h": "1 hour", "4h": "4 hours", TOMORROW: "Until tomorrow"}


class MaintenanceForm(forms.ModelForm[Maintenance]):
    labels = LabelsField(
        label="Agents with",
        help_text="Only agents that have all of these, one name=value a line, e.g. host=worker-3. Empty: all agents.",
    )

    class Meta:
        model = Maintenance
        fields = ("project", "reason", "starts_at", "ends_at", "labels")
        labels = {"reason": "What is done"}
        help_texts = {
            "reason": "People read it on the agents’ pages.",
            "starts_at": "In your time zone. Whatever is past begins at once.",
            "ends_at": "From then on they are judged again, as if they had just reported. At most 30 days later.",
        }

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("starts_at") and cleaned.get("ends_at"):
            wrong = maintenance.time_error(cleaned["starts_at"], cleaned["ends_at"], timezone.now())
            if wrong is not None:
                self.add_error(wrong[0], f"{wrong[1][0].upper()}{wrong[1][1:]}.")
        return cleaned


def lasts_until(lasts: str, now: datetime) -> datetime:
    """The end of a window that begins now; tomorrow is that of `now`'s own zone."""
    if lasts in SHORT:
        return now + SHORT[lasts]
    return datetime.combine(now.date() + timedelta(days=1), MORNING, now.tzinfo)


class _Moment(forms.DateTimeInput):
    """A field with a calendar of the browser's own."""

    def __init__(self) -> None:
        super().__init__({"type": "datetime-local"}, "%Y-%m-%dT%H:%M")


class ForChosenForm(forms.Form):
    """How long, and why, for agents that were chosen already. Checked, it has `starts_at` and `ends_at`."""

    lasts = forms.ChoiceField(label="How long", widget=forms.RadioSelect, initial="1h")
    starts_at = forms.DateTimeField(label="From", required=False, widget=_Moment)
    ends_at = forms.DateTimeField(label="Until", required=False, widget=_Moment)
    reason = forms.CharField(label="Why", max_length=200, help_text="People read it on the agents’ pages.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.now = timezone.localtime()
        self.initial = {"starts_at": self.now, "ends_at": self.now + USUAL, **self.initial}
        lasts: Any = self.fields["lasts"]
        lasts.choices = [*((key, self._said(key)) for key in LABELS), (OWN, "Own times")]

    def _said(self, lasts: str) -> str:
        end = lasts_until(lasts, self.now)
        when = f"{end:%H:%M}" if end.date() == self.now.date() else f"{end.day} {end:%b, %H:%M}"
        return f"{LABELS[lasts]}, {when}" if lasts == TOMORROW else f"{LABELS[lasts]}, until {when}"

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("lasts") in LABELS:
            return {**cleaned, "starts_at": self.now, "ends_at": lasts_until(cleaned["lasts"], self.now)}
        if cleaned.get("lasts") == OWN and not self.errors:
            self._check_own(cleaned)
        return cleaned

    def _check_own(self, cleaned: dict[str, Any]) -> None:
        missing = [name for name in ("starts_at", "ends_at") if not cleaned.get(name)]
        for name in missing:
            self.add_error(name, "Give both times.")
        wrong = None if missing else maintenance.time_error(cleaned["starts_at"], cleaned["ends_at"], self.now)
        if wrong is not None:
            self.add_error(wrong[0], f"{wrong[1][0].upper()}{wrong[1][1:]}.")


def ask(request: HttpRequest, agents: Iterable[Agent], form: ForChosenForm | None = None) -> TemplateResponse:
    """The page that asks how long, and why, and names these agents."""
    rows = sorted(agents, key=lambda agent: (agent.project.name, agent.project_id, agent.name))
    context = {
        **admin.site.each_context(request),
        "title": "Plan maintenance",
        "opts": Maintenance._meta,
        "form": form or ForChosenForm(),
        "agents": rows,
        "projects": [(project, list(own)) for project, own in groupby(rows, key=lambda agent: agent.project)],
        "ids": ",".join(str(agent.pk) for agent in rows),
        "back": selection.back(request),
    }
    return TemplateResponse(request, "agents/maintenance_for.html", context)


def end(window: Maintenance, by: str, reason: str, now: datetime) -> str:
    """It may have begun, or be over, since the page was shown: what is said is what was the case."""
    if window.closed_at is not None:
        return "It was over already."
    maintenance.end(window=window, actor=by, now=now)
    return "Ended: its agents are watched again." if window.opened_at else "Cancelled: it does not begin."


@admin.register(Maintenance)
class MaintenancePage(WithButtons):
    form = MaintenanceForm
    add_action = Action.OPERATE
    change_action = delete_action = None
    change_list_template = "agents/maintenance.html"
    change_form_template = "agents/maintenance_page.html"
    live_parts = {"now": "agents/maintenance_now.html"}
    table_template = "agents/maintenance_table.html"
    list_display = ["reason", "project"]  # in words; the table shows more
    list_filter = ["project"]
    list_select_related = ["project__team"]
    fields = ["project", "reason", "starts_at", "ends_at", "labels"]
    actions = ["end_selected"]
    buttons = (
        Button("end", "End now", "event_available", end, hidden=lambda one: one.closed_at or not one.opened_at),
        Button("cancel", "Cancel the window", "event_busy", end, hidden=lambda one: one.closed_at or one.opened_at),
    )
    empty = Empty(
        "No maintenance planned",
        "In a maintenance window agents are left alone: nobody is told of them, and nothing restarts them. Plan one "
        "before you touch what they need.",
        "Plan a maintenance",
        "Members of the team and above plan maintenance.",
    )

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.plan)
        return [path("plan/", view, name="agents_maintenance_plan"), *super().get_urls()]

    @admin.action(permissions=[Action.OPERATE.value])
    def plan(self, request: HttpRequest) -> HttpResponse:
        """For the agents named in `agents`, by their ids: those of them that the person may leave alone."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        given = request.POST if request.method == "POST" else request.GET
        if not given.get("agents"):
            messages.info(request, "Tick the agents first.")
            return HttpResponseRedirect(selection.back(request))
        agents = _asked_for(request, given["agents"])
        form = ForChosenForm(request.POST) if request.method == "POST" else None
        if form is None or not form.is_valid():
            return ask(request, agents, form)
        times = {name: form.cleaned_data[name] for name in ("starts_at", "ends_at")}
        maintenance.schedule_for(
            agents=agents, reason=form.cleaned_data["reason"], actor=actor(request), now=timezone.now(), **times
        )
        messages.success(request, _planned(len(agents), times["ends_at"]))
        return HttpResponseRedirect(selection.back(request))

    def get_readonly_fields(self, request: HttpRequest, obj: Maintenance | None = None) -> list[str]:
        return ["labelled", "agents", "created_by", "opened_at", "closed_at"] if obj else []

    def get_fields(self, request: HttpRequest, obj: Maintenance | None = None) -> list[Any]:
        return [*(self.fields[:-1] if obj else self.fields), *self.get_readonly_fields(request, obj)]

    @admin.display(description="With the labels")
    def labelled(self, obj: Maintenance) -> str:
        return ", ".join(f"{name}={value}" for name, value in sorted(obj.labels.items())) or "any"

    @admin.display(description="Agents")
    def agents(self, obj: Maintenance) -> str:
        return ", ".join(obj.agent_names) or "all of the project"

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """An hour from now on: it is changed more easily than found out."""
        now = timezone.now().replace(second=0, microsecond=0)
        return {"starts_at": now, "ends_at": now + USUAL, **super().get_changeform_initial_data(request)}

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        window: Maintenance | None = kwargs.get("obj")
        if window is not None:
            context |= {**self.live_context(request, window, "now"), "title": str(window)}
        return super().render_change_form(request, context, *args, **kwargs)

    def live_context(self, request: HttpRequest, row: Maintenance, part: str) -> dict[str, Any]:
        return {"now": timezone.now(), "original": row, "row": row, "buttons": self.buttons_for(request, row)}

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        given = {name: form.cleaned_data[name] for name in ("reason", "starts_at", "ends_at", "labels")}
        made = maintenance.schedule(project=obj.project, actor=actor(request), now=timezone.now(), **given)
        obj.pk = made.pk

    @admin.action(description="End now, or call off", permissions=["operate"])
    def end_selected(self, request: HttpRequest, queryset: QuerySet[Maintenance]) -> None:
        for window in queryset.select_related("project__team"):
            maintenance.end(window=window, actor=actor(request), now=timezone.now())
        messages.success(request, "Ended: their agents are watched again.")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        windows = Maintenance.objects.filter(project__team__in=teams_of(request.user)).select_related("project")
        weeks = calendar(windows, timezone.localtime())
        context = {
            **(extra_context or {}),
            "weeks": weeks,
            "planned": any(cell["windows"] for week in weeks for cell in week),
            "today": timezone.localdate(),
        }
        return super().changelist_view(request, context)


def _asked_for(request: HttpRequest, ids: str) -> list[Agent]:
    """404 where the person may operate none of them."""
    wanted = [int(pk) for pk in ids.split(",") if pk.isascii() and pk.isdigit() and len(pk) < 19]
    own = Agent.objects.filter(project__team__in=teams_of(request.user, Action.OPERATE))
    found: list[Agent] = or_404(list(own.filter(pk__in=wanted).select_related("project__team")) or None)
    return found


def _planned(count: int, until: datetime) -> str:
    who = "1 agent is" if count == 1 else f"{count} agents are"
    return f"{who} left alone until {exact(until, timezone.get_current_timezone())}."


def calendar(windows: QuerySet[Maintenance], now: datetime) -> list[list[dict[str, Any]]]:
    """This week and the next ones, day by day, each with its windows, in the person's time zone."""
    monday = now.date() - timedelta(days=now.weekday())
    days = [monday + timedelta(days=number) for number in range(7 * WEEKS)]
    first = datetime.combine(monday, datetime.min.time(), now.tzinfo)
    shown = list(
        windows.filter(ends_at__gt=first, starts_at__lt=first + timedelta(days=7 * WEEKS)).order_by("starts_at")
    )
    cells = [{"day": day, "windows": [one for one in shown if _touches(one, day, now)]} for day in days]
    return [cells[at : at + 7] for at in range(0, len(cells), 7)]


def _touches(window: Maintenance, day: date, now: datetime) -> bool:
    begins, ends = (moment.astimezone(now.tzinfo) for moment in (window.starts_at, window.ends_at))
    return begins.date() <= day and (ends.date() > day or (ends.date() == day and ends > begins))
