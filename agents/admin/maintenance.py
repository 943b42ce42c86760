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
from agents.admin.live import MEDIA
from agents.models import Maintenance
from teams.admin.projects import actor
from teams.roles import Action
from teams.scoping import TeamAdmin, display, teams_of

WEEKS: Final = 5
_COLOURS: Final = {"open": "warning", "planned": "info", "over": "default"}


class MaintenanceForm(forms.ModelForm[Maintenance]):
    class Meta:
        model = Maintenance
        fields = ("project", "reason", "starts_at", "ends_at", "labels")

    def clean_labels(self) -> dict[str, str]:
        labels = self.cleaned_data["labels"] or {}
        if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
            raise forms.ValidationError('Names and values, e.g. {"host": "worker-3"}.')
        return labels

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("starts_at") and cleaned.get("ends_at"):
            wrong = maintenance.problem(cleaned["starts_at"], cleaned["ends_at"], timezone.now())
            if wrong is not None:
                self.add_error(wrong[0], f"{wrong[1][0].upper()}{wrong[1][1:]}.")
        return cleaned


@admin.register(Maintenance)
class MaintenancePage(TeamAdmin):
    form = MaintenanceForm
    add_action = Action.OPERATE
    change_action = delete_action = None
    change_list_template = "agents/maintenance.html"
    list_display = ["reason", "project", "starts_at", "ends_at", "state", "created_by"]
    list_filter = ["project"]
    list_select_related = ["project__team"]
    fields = ["project", "reason", "starts_at", "ends_at", "labels"]
    actions = ["end_selected"]

    @property
    def media(self) -> forms.Media:
        media: forms.Media = super().media
        return media + MEDIA

    def get_readonly_fields(self, request: HttpRequest, obj: Maintenance | None = None) -> list[str]:
        return ["created_by", "opened_at", "closed_at"] if obj else []

    def get_fields(self, request: HttpRequest, obj: Maintenance | None = None) -> list[Any]:
        return [*self.fields, *self.get_readonly_fields(request, obj)]

    @display(description="State", label=_COLOURS)
    def state(self, obj: Maintenance) -> str:
        if obj.closed_at:
            return "over"
        return "open" if obj.opened_at else "planned"

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
        context = {
            **(extra_context or {}),
            "weeks": calendar(windows, timezone.localtime()),
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
