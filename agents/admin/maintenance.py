"""Maintenance windows: planned in a form, seen on a calendar, ended with a button."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from agents import maintenance
from agents.models import Maintenance
from teams.admin.projects import actor
from teams.forms import LabelsField
from teams.listing import Empty, TableList
from teams.roles import Action
from teams.scoping import teams_of

WEEKS: Final = 5
USUAL: Final = timedelta(hours=1)


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
            wrong = maintenance.problem(cleaned["starts_at"], cleaned["ends_at"], timezone.now())
            if wrong is not None:
                self.add_error(wrong[0], f"{wrong[1][0].upper()}{wrong[1][1:]}.")
        return cleaned


@admin.register(Maintenance)
class MaintenancePage(TableList):
    form = MaintenanceForm
    add_action = Action.OPERATE
    change_action = delete_action = None
    change_list_template = "agents/maintenance.html"
    table_template = "agents/maintenance_table.html"
    list_display = ["reason", "project"]  # in words; the table shows more
    list_filter = ["project"]
    list_select_related = ["project__team"]
    fields = ["project", "reason", "starts_at", "ends_at", "labels"]
    actions = ["end_selected"]
    empty = Empty(
        "No maintenance planned",
        "In a maintenance window agents are left alone: nobody is told of them, and nothing restarts them. Plan one "
        "before you touch what they need.",
        "Plan a maintenance",
        "Members of the team and above plan maintenance.",
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Maintenance | None = None) -> list[str]:
        return ["created_by", "opened_at", "closed_at"] if obj else []

    def get_fields(self, request: HttpRequest, obj: Maintenance | None = None) -> list[Any]:
        return [*self.fields, *self.get_readonly_fields(request, obj)]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """An hour from now on: it is changed more easily than found out."""
        now = timezone.now().replace(second=0, microsecond=0)
        return {"starts_at": now, "ends_at": now + USUAL, **super().get_changeform_initial_data(request)}

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        given = {name: form.cleaned_data[name] for name in ("reason", "starts_at", "ends_at", "labels")}
        made = maintenance.plan(project=obj.project, actor=actor(request), now=timezone.now(), **given)
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
