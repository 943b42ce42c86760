"""A job's page: its schedule, its last runs, and the addresses of its pings."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from agents.domain.jobs import schedules
from agents.fleet import jobs as services
from agents.models import Agent, Job
from agents.reporting import jobs
from teams.admin.projects import actor
from teams.errors import ApiError
from teams.tenant_admin import TeamAdmin


class ScheduleForm(forms.ModelForm[Job]):
    """The service validates what depends on several fields."""

    period = forms.FloatField(min_value=schedules.MIN_PERIOD, max_value=schedules.MAX_SECONDS, label="Period (seconds)")
    grace = forms.FloatField(
        min_value=schedules.MIN_GRACE, max_value=schedules.MAX_SECONDS, label="Grace period (seconds)"
    )
    max_duration = forms.FloatField(
        required=False,
        min_value=schedules.MIN_DURATION,
        max_value=schedules.MAX_SECONDS,
        label="Expected duration (seconds)",
    )
    slug = forms.RegexField(
        r"^[a-z0-9_-]*$",
        required=False,
        max_length=200,
        error_messages={"invalid": "Use lowercase letters, digits, hyphens and underscores."},
    )

    class Meta:
        model = Job
        fields = services.SETTABLE
        labels: ClassVar[dict[str, Any]] = {"schedule": "Schedule", "expression": "Expression"}
        help_texts: ClassVar[dict[str, Any]] = {
            "expression": "For cron, such as 0 2 * * *; for OnCalendar, such as Mon..Fri 02:00.",
            "time_zone": "In which the expression is read, such as Europe/Berlin.",
        }
        widgets: ClassVar[dict[str, Any]] = {
            "schedule": UnfoldAdminSelectWidget,
            "expression": UnfoldAdminTextareaWidget(attrs={"rows": 2}),
            "time_zone": UnfoldAdminTextInputWidget,
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        texts = {
            "period": "From one run to the next, for the schedule “period”.",
            "grace": "How late a run may start.",
            "max_duration": "How long a run may take. Empty: as long as the grace period.",
            "slug": "The job’s name in ping addresses with the project’s ping key.",
        }
        for name, text in texts.items():
            self.fields[name].widget = UnfoldAdminTextInputWidget()
            self.fields[name].help_text = text

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if not self.errors:
            kind, expression, zone = (cleaned[name] for name in ("schedule", "expression", "time_zone"))
            if wrong := schedules.problem(kind, expression, zone, timezone.now()):
                self.add_error(wrong[0], f"{wrong[1][:1].upper()}{wrong[1][1:]}.")
        return cleaned


class SchedulePage:
    """The page at `<id>/schedule/` of an agent."""

    def __init__(self, page: TeamAdmin) -> None:
        self.page = page

    @property
    def url(self) -> URLPattern:
        return path(
            "<path:object_id>/schedule/", self.page.admin_site.admin_view(self.view), name="agents_agent_schedule"
        )

    def view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        agent: Agent = self.page.get_object(request, unquote(object_id))
        if not self.page.has_view_permission(request, agent):
            raise PermissionDenied
        own = Job.objects.filter(agent=agent).first() or Job(agent=agent)
        if request.method != "POST":
            return self._show(request, agent, ScheduleForm(instance=own))
        if not self.page.has_change_permission(request, agent):
            raise PermissionDenied
        form = ScheduleForm(request.POST, instance=own)
        return self._save(request, agent, form) if form.is_valid() else self._show(request, agent, form)

    def _save(self, request: HttpRequest, agent: Agent, form: ScheduleForm) -> HttpResponse:
        stored = Agent.objects.select_related("project__team").get(pk=agent.pk)
        try:
            services.change_schedule(agent=stored, changes=form.cleaned_data, actor=actor(request), now=timezone.now())
        except ApiError as refusal:
            form.add_error(None, refusal.message)
            return self._show(request, agent, form)
        messages.success(request, f"Saved the schedule of {agent}.")
        return redirect("admin:agents_agent_schedule", agent.pk)

    def _show(self, request: HttpRequest, agent: Agent, form: ScheduleForm) -> TemplateResponse:
        now, may_change = timezone.now(), self.page.has_change_permission(request, agent)
        status = jobs.job_status(agent, now)
        has_urls = may_change and status is not None and status.settings is not None
        context = {
            **self.page.admin_site.each_context(request),
            "title": f"Schedule: {agent}",
            "opts": self.page.opts,
            "original": agent,
            "now": now,
            "form": form,
            "job": status,
            "may_change": may_change,
            "urls": jobs.ping_urls(agent, status.settings) if has_urls and status and status.settings else {},
        }
        return TemplateResponse(request, "agents/schedule.html", context)
