"""Backtests in the admin: test a rule's thresholds on past data of an agent or a project, then apply them.

A backtest is a GET and changes nothing, so its URL can be shared; applying the thresholds is a POST.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
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
from agents.admin.rules import Row, field_of, help_text, inherited, initial, read_values, sentence
from agents.fleet import services
from agents.models import Agent
from agents.review import backtest, stops
from agents.rules import settings
from agents.rules.thresholds import Threshold
from teams.admin.projects import actor
from teams.errors import ApiError
from teams.tenant_admin import TeamAdmin

DEFAULT_RULE: Final = "loop"
HOURS: Final = (
    (1, "last hour"),
    (6, "last 6 hours"),
    (24, "last 24 hours"),
    (72, "last 3 days"),
    (168, "last 7 days"),
    (720, "last 30 days"),
)
DEFAULT_HOURS: Final = 24
# What the settings look back on before a hold is armed.
STOPS_HOURS: Final = 168
# Drawing units. The minimum width keeps momentary incidents visible.
WIDTH, MIN_BAR_WIDTH, TICKS = 1000.0, 4.0, 5


def testable_rules() -> list[rules.Rule]:
    return [rule for rule in rules.every().values() if backtest.can_backtest(rule)]


class BacktestForm(forms.Form):
    """The thresholds of one rule, for an agent or a project."""

    def __init__(self, rule: rules.Rule, row: Row, data: Any = None) -> None:
        super().__init__(data, initial={"hours": DEFAULT_HOURS})
        self.rule, self.declared = rule, [each for each in rule.THRESHOLDS if isinstance(row, Agent) or not each.column]
        base, own = rules.in_force(rule, *inherited(row)), row.rules.get(rule.KIND, {})
        for threshold in self.declared:
            field = field_of(threshold)
            field.help_text = help_text(threshold, base)
            field.initial = getattr(row, threshold.name) if threshold.column else initial(threshold, own)
            self.fields[_parameter(threshold)] = field
        self.fields["hours"] = forms.TypedChoiceField(
            choices=HOURS, coerce=int, label="Time range", widget=UnfoldAdminSelectWidget
        )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        entered = {threshold.name: cleaned.get(_parameter(threshold)) for threshold in self.declared}
        values, unreadable = read_values(self.declared, entered)
        out_of_bounds = settings.wrong_values(tuple(self.declared), values)
        for name, problem in [*unreadable, *out_of_bounds.items()]:
            field = name.partition(":")[0]
            if field not in self.errors:
                self.add_error(field, problem)
        return {**cleaned, "thresholds": values}


def _parameter(threshold: Threshold) -> str:
    return threshold.name.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Bar:
    """A finding or an incident, in drawing units."""

    x: float
    width: float
    severity: str
    text: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """Findings and incidents on a common scale; no data was read before `covered`."""

    fired: list[Bar]
    real: list[Bar]
    covered: float
    ticks: list[datetime]


def draw(trial: backtest.Trial) -> Drawing:
    span = (trial.until - trial.since) / (TICKS - 1)
    return Drawing(
        [
            _bar(trial, each.fired_at, each.over_at, each.finding.severity, each.finding.reason)
            for each in trial.episodes
        ],
        [_bar(trial, each.opened_at, each.cleared_at, each.severity, each.reason) for each in trial.real],
        _position(trial, trial.covered_from),
        [trial.since + span * number for number in range(TICKS)],
    )


def _bar(trial: backtest.Trial, start: datetime, end: datetime | None, severity: str, text: str) -> Bar:
    x, right = _position(trial, start), _position(trial, end or trial.until)
    width = max(MIN_BAR_WIDTH, right - x)
    return Bar(round(min(x, WIDTH - width), 1), round(width, 1), severity, text)


def _position(trial: backtest.Trial, at: datetime) -> float:
    share = (at - trial.since) / (trial.until - trial.since)
    return round(WIDTH * min(1.0, max(0.0, share)), 1)


class BacktestPage:
    """The page at `<id>/try/` of an agent or a project."""

    def __init__(self, page: TeamAdmin) -> None:
        self.page = page

    @property
    def url(self) -> URLPattern:
        name = f"{self.page.opts.app_label}_{self.page.opts.model_name}_backtest"
        return path("<path:object_id>/try/", self.page.admin_site.admin_view(self.view), name=name)

    def view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row: Row = self.page.get_object(request, unquote(object_id))
        if not self.page.has_view_permission(request, row):
            raise PermissionDenied
        data = request.POST if request.method == "POST" else request.GET
        rule = rules.every().get(data.get("rule", DEFAULT_RULE))
        if rule is None or not backtest.can_backtest(rule):
            raise Http404("No such rule.")
        if "brief" in request.GET:
            return TemplateResponse(request, "agents/backtest_stops.html", _stops(row, rule, timezone.now()))
        form = BacktestForm(rule, row, data if "hours" in data else None)
        return self._apply(request, row, form) if request.method == "POST" else self._show(request, row, form)

    def _show(self, request: HttpRequest, row: Row, form: BacktestForm) -> TemplateResponse:
        now, rule = timezone.now(), form.rule
        trials, skipped = self._run(request, row, form, now)
        context = {
            **self.page.admin_site.each_context(request),
            "title": f"Backtest: {row}",
            "opts": self.page.opts,
            "original": row,
            "now": now,
            "rule": rule,
            "sentence": sentence(rule),
            "is_on": rules.in_force(rule, *inherited(row), row.rules).on,
            "rules": testable_rules(),
            "form": form,
            "is_done": trials is not None,
            "trials": [(trial, draw(trial)) for trial in trials or ()],
            "fired": sum(len(trial.episodes) for trial in trials or ()),
            "can_hold": stops.can_hold(rule),
            **_counts(trials or ()),
            "skipped": skipped,
            "is_agent": isinstance(row, Agent),
            "may_apply": self.page.has_change_permission(request, row),
            "parameters": [(name, request.GET.get(name, "")) for name in form.fields],
        }
        return TemplateResponse(request, "agents/backtest.html", context)

    def _run(
        self, request: HttpRequest, row: Row, form: BacktestForm, now: datetime
    ) -> tuple[list[backtest.Trial] | None, int]:
        """None if no backtest was requested, or if it cannot run now."""
        if not form.is_valid():
            return None, 0
        try:
            return _run(row, form, now)
        except ApiError as refusal:
            messages.error(request, refusal.message)
            return None, 0

    def _apply(self, request: HttpRequest, row: Row, form: BacktestForm) -> HttpResponse:
        if not self.page.has_change_permission(request, row):
            raise PermissionDenied
        if not form.is_valid():
            return self._show(request, row, form)
        _save(row, form, actor(request), timezone.now(), switch_on="switch_on" in request.POST)
        messages.success(request, f"Saved: {row} now uses these thresholds for the rule {form.rule.LABEL.lower()}.")
        return redirect(f"admin:{self.page.opts.app_label}_{self.page.opts.model_name}_change", row.pk)


def _counts(trials: Sequence[backtest.Trial]) -> dict[str, int]:
    return {"stops": sum(trial.stops for trial in trials), "nudges": sum(trial.nudges for trial in trials)}


def _stops(row: Row, rule: rules.Rule, now: datetime) -> dict[str, Any]:
    """How often a hold would have stopped the agents in the last days, with the settings as they are."""
    since = now - timedelta(hours=STOPS_HOURS)
    context = {"rule": rule, "original": row, "is_agent": isinstance(row, Agent)}
    try:
        if isinstance(row, Agent):
            trials = [backtest.of_agent(row, rule, {}, since, now)]
        else:
            trials, _ = backtest.of_project(row, rule, {}, since, now)
    except ApiError as refusal:
        return {**context, "refused": refusal.message}
    read = [trial for trial in trials if trial.heartbeats]
    covered_from = min((trial.covered_from for trial in read), default=None)
    return {**context, **_counts(read), "covered_from": covered_from}


def _run(row: Row, form: BacktestForm, now: datetime) -> tuple[list[backtest.Trial], int]:
    """For an agent only these thresholds count; a project's agents may override them. Also the number of skipped
    agents."""
    since, thresholds = now - timedelta(hours=form.cleaned_data["hours"]), form.cleaned_data["thresholds"]
    if isinstance(row, Agent):
        return [backtest.of_agent(row, form.rule, thresholds, since, now, alone=True)], 0
    changed = copy.copy(row)
    changed.rules = _with_thresholds(row, form.rule, thresholds)
    return backtest.of_project(changed, form.rule, {}, since, now)


def _save(row: Row, form: BacktestForm, by: str, now: datetime, *, switch_on: bool) -> None:
    """Saves the tested thresholds; other rules are not changed."""
    columns = [threshold.name for threshold in form.declared if threshold.column]
    thresholds = form.cleaned_data["thresholds"]
    values = {name: value for name, value in thresholds.items() if name not in columns}
    changed = _with_thresholds(row, form.rule, values, switch_on=switch_on)
    if isinstance(row, Agent):
        settings_of_agent = {name: backtest.as_column(name, thresholds.get(name)) for name in columns}
        stored = Agent.objects.select_related("project__team").get(pk=row.pk)
        services.change_agent(agent=stored, changes={**settings_of_agent, "rules": changed}, actor=by, now=now)
    else:
        services.change_project_rules(project=row, given=changed, actor=by, now=now)


def _with_thresholds(
    row: Row, rule: rules.Rule, values: Mapping[str, Any], *, switch_on: bool = False
) -> dict[str, Any]:
    """The row's `rules` with new thresholds for one rule. Its switch is kept, unless `switch_on`."""
    own = row.rules.get(rule.KIND, {})
    switch = {name: own[name] for name in (settings.ON, settings.OFF) if name in own}
    changed = {**({settings.ON: True} if switch_on else switch), **values}
    others = {kind: existing for kind, existing in row.rules.items() if kind != rule.KIND}
    return {**others, **({rule.KIND: changed} if changed else {})}
