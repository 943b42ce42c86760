"""Trying a rule on the history of an agent or a project: choose thresholds, see when it would have fired, take them.

Trying is a GET and changes nothing, so its address can be shared; taking the thresholds is a POST.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget

from agents import rules
from agents.admin.rules import Row, field_of, help_of, inherited, initial, read_values, sentence
from agents.fleet import services
from agents.models import Agent
from agents.review import backtest
from agents.rules import settings
from agents.rules.thresholds import Threshold
from teams.admin.projects import actor
from teams.errors import ApiError
from teams.tenant_admin import TeamAdmin

FIRST: Final = "loop"
HOURS: Final = (
    (1, "the last hour"),
    (6, "the last 6 hours"),
    (24, "the last day"),
    (72, "the last 3 days"),
    (168, "the last week"),
    (720, "the last 30 days"),
)
DAY: Final = 24
# The drawing is so many units wide; what lasted for a moment only is still to be seen.
WIDTH, NARROWEST, TICKS = 1000.0, 4.0, 5


def can_be_tried() -> list[rules.Rule]:
    return [rule for rule in rules.every().values() if backtest.can_backtest(rule)]


class TryForm(forms.Form):
    """The thresholds of one rule, as an agent or a project would have them."""

    def __init__(self, rule: rules.Rule, row: Row, data: Any = None) -> None:
        super().__init__(data, initial={"hours": DAY})
        self.rule, self.declared = rule, [one for one in rule.THRESHOLDS if isinstance(row, Agent) or not one.column]
        base, own = rules.in_force(rule, *inherited(row)), row.rules.get(rule.KIND, {})
        for one in self.declared:
            field = field_of(one)
            field.help_text = help_of(one, base)
            field.initial = getattr(row, one.name) if one.column else initial(one, own)
            self.fields[_parameter(one)] = field
        self.fields["hours"] = forms.TypedChoiceField(
            choices=HOURS, coerce=int, label="Tried on", widget=UnfoldAdminSelectWidget
        )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        values = {one.name: cleaned.get(_parameter(one)) for one in self.declared}
        given, wrong = read_values(self.declared, values)
        found = settings.wrong_values(tuple(self.declared), given)
        for name, why in [*wrong, *found.items()]:
            field = name.partition(":")[0]
            if field not in self.errors:
                self.add_error(field, why)
        return {**cleaned, "given": given}


def _parameter(one: Threshold) -> str:
    return one.name.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Bar:
    """Something on the drawing, in its units."""

    x: float
    width: float
    severity: str
    said: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """Both lanes on one scale; before `covered` nothing was read."""

    fired: list[Bar]
    real: list[Bar]
    covered: float
    ticks: list[datetime]


def drawn(trial: backtest.Trial) -> Drawing:
    span = (trial.until - trial.since) / (TICKS - 1)
    return Drawing(
        [_bar(trial, one.fired_at, one.over_at, one.finding.severity, one.finding.reason) for one in trial.episodes],
        [_bar(trial, one.opened_at, one.cleared_at, one.severity, one.reason) for one in trial.real],
        _place(trial, trial.covered_from),
        [trial.since + span * number for number in range(TICKS)],
    )


def _bar(trial: backtest.Trial, start: datetime, end: datetime | None, severity: str, said: str) -> Bar:
    x, right = _place(trial, start), _place(trial, end or trial.until)
    width = max(NARROWEST, right - x)
    return Bar(round(min(x, WIDTH - width), 1), round(width, 1), severity, said)


def _place(trial: backtest.Trial, at: datetime) -> float:
    share = (at - trial.since) / (trial.until - trial.since)
    return round(WIDTH * min(1.0, max(0.0, share)), 1)


class Trying:
    """The page at `<id>/try/` of an admin's rows, which are agents or projects."""

    def __init__(self, page: TeamAdmin) -> None:
        self.page = page

    @property
    def url(self) -> URLPattern:
        name = f"{self.page.opts.app_label}_{self.page.opts.model_name}_try"
        return path("<path:object_id>/try/", self.page.admin_site.admin_view(self.view), name=name)

    def view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row: Row = self.page.get_object(request, unquote(object_id))
        if not self.page.has_view_permission(request, row):
            raise PermissionDenied
        data = request.POST if request.method == "POST" else request.GET
        rule = rules.every().get(data.get("rule", FIRST))
        if rule is None or not backtest.can_backtest(rule):
            raise Http404("There is no such rule to try.")
        form = TryForm(rule, row, data if "hours" in data else None)
        return self._take(request, row, form) if request.method == "POST" else self._show(request, row, form)

    def _show(self, request: HttpRequest, row: Row, form: TryForm) -> TemplateResponse:
        now, rule = timezone.now(), form.rule
        trials, left_out = self._tried(request, row, form, now)
        context = {
            **self.page.admin_site.each_context(request),
            "title": f"Try on history: {row}",
            "opts": self.page.opts,
            "original": row,
            "now": now,
            "rule": rule,
            "sentence": sentence(rule),
            "on": rules.in_force(rule, *inherited(row), row.rules).on,
            "rules": can_be_tried(),
            "form": form,
            "tried": trials is not None,
            "trials": [(trial, drawn(trial)) for trial in trials or ()],
            "fired": sum(len(trial.episodes) for trial in trials or ()),
            "left_out": left_out,
            "alone": isinstance(row, Agent),
            "may_take": self.page.has_change_permission(request, row),
            "asked": [(name, request.GET.get(name, "")) for name in form.fields],
        }
        return TemplateResponse(request, "agents/try.html", context)

    def _tried(
        self, request: HttpRequest, row: Row, form: TryForm, now: datetime
    ) -> tuple[list[backtest.Trial] | None, int]:
        """None where nothing was tried: nobody asked for it, or it cannot be just now."""
        if not form.is_valid():
            return None, 0
        try:
            return _tried(row, form, now)
        except ApiError as refusal:
            messages.error(request, refusal.message)
            return None, 0

    def _take(self, request: HttpRequest, row: Row, form: TryForm) -> HttpResponse:
        if not self.page.has_change_permission(request, row):
            raise PermissionDenied
        if not form.is_valid():
            return self._show(request, row, form)
        _save(row, form, actor(request), timezone.now(), switch_on="switch_on" in request.POST)
        said = f"{row} uses these thresholds of the rule {form.rule.LABEL.lower()} from now on."
        messages.success(request, said)
        return redirect(f"admin:{self.page.opts.app_label}_{self.page.opts.model_name}_change", row.pk)


def _tried(row: Row, form: TryForm, now: datetime) -> tuple[list[backtest.Trial], int]:
    """An agent with these thresholds alone; a project's agents with their own over them. And how many were left out."""
    since, given = now - timedelta(hours=form.cleaned_data["hours"]), form.cleaned_data["given"]
    if isinstance(row, Agent):
        return [backtest.of_agent(row, form.rule, given, since, now, alone=True)], 0
    tried = copy.copy(row)
    tried.rules = _with(row, form.rule, given)
    return backtest.of_project(tried, form.rule, {}, since, now)


def _save(row: Row, form: TryForm, by: str, now: datetime, *, switch_on: bool) -> None:
    """The rule's thresholds as they were tried; the other rules stay as they are."""
    columns = [one.name for one in form.declared if one.column]
    values = {name: value for name, value in form.cleaned_data["given"].items() if name not in columns}
    given = _with(row, form.rule, values, switch_on=switch_on)
    if isinstance(row, Agent):
        own = {name: backtest.as_column(name, form.cleaned_data["given"].get(name)) for name in columns}
        stored = Agent.objects.select_related("project__team").get(pk=row.pk)
        services.change_agent(agent=stored, changes={**own, "rules": given}, actor=by, now=now)
    else:
        services.change_project_rules(project=row, given=given, actor=by, now=now)


def _with(row: Row, rule: rules.Rule, values: Mapping[str, Any], *, switch_on: bool = False) -> dict[str, Any]:
    """The row's `rules` with these thresholds of one of them in place of its own; its switch stays, or is put on."""
    own = row.rules.get(rule.KIND, {})
    switch = (
        {settings.ON: True} if switch_on else {name: own[name] for name in (settings.ON, settings.OFF) if name in own}
    )
    others = {kind: found for kind, found in row.rules.items() if kind != rule.KIND}
    found = {**switch, **values}
    return {**others, **({rule.KIND: found} if found else {})}
