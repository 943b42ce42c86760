"""The project's page with the rules that its agents inherit, this month's spend, and badges."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest
from django.urls import URLPattern
from django.utils import timezone

from agents.admin.backtests import BacktestPage
from agents.admin.rules import READ_ONLY, RulesForm, fieldsets, form_sections, in_words, with_rules
from agents.fleet import services
from agents.reporting import formatting, status_page
from agents.storage import monthly_spend
from teams.admin.projects import ProjectForm, ProjectPage, actor
from teams.models import Project


class ProjectRulesForm(RulesForm, ProjectForm):
    class Meta(ProjectForm.Meta):
        pass


class ProjectRulesPage(ProjectPage):
    """The project's page, with the rules that its agents inherit."""

    form = ProjectRulesForm
    change_form_template = "agents/project.html"
    sections = ProjectPage.sections | {"Spend": (*ProjectPage.sections["Spend"], "spent_this_month")}

    def get_urls(self) -> list[URLPattern]:
        return [BacktestPage(self).url, *super().get_urls()]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        base = list(super().get_fieldsets(request, obj))
        if obj is None:
            return base
        return base + (fieldsets() if self.has_change_permission(request, obj) else [READ_ONLY])

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        project = context["original"]
        # The stored project, not the values just entered.
        stored = Project.objects.filter(pk=project.pk).first() if project else None
        context["badges"] = status_page.badges(stored) if stored else []
        if stored:
            context |= {
                "sections": form_sections(context["adminform"], stored),
                "backtest": "admin:teams_project_backtest",
            }
        return super().render_change_form(request, context, *args, **kwargs)

    def get_form(self, request: HttpRequest, obj: Project | None = None, change: bool = False, **kwargs: Any) -> Any:
        kwargs["form"] = with_rules(ProjectRulesForm) if obj is not None else ProjectForm
        return super().get_form(request, obj, change=change, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: Project | None = None) -> list[str]:
        return [*super().get_readonly_fields(request, obj), *(["spent_this_month"] if obj else [])]

    @admin.display(description="Active rules")
    def rules_in_force(self, obj: Project) -> str:
        return in_words(obj)

    def spent_this_month(self, obj: Project) -> str:
        return formatting.spend(monthly_spend.of_month(obj, timezone.now()), obj.monthly_budget_usd)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change:
            changed, now = form.cleaned_data["rules"], timezone.now()
            services.change_project_rules(project=obj, given=changed, actor=actor(request), now=now)
            # Budget, time zone or grace period may have changed, so review its agents now.
            transaction.on_commit(lambda: monthly_spend.look([obj.pk], now))


admin.site.unregister(Project)
admin.site.register(Project, ProjectRulesPage)
