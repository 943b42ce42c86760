"""Trying a rule on an agent's history: choose thresholds, see when it would have fired, take them if they are right.

Trying is a GET and changes nothing, so its address can be shared; taking the thresholds is a POST.
"""

from __future__ import annotations

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

from agents import replay, rules, services
from agents.admin.buttons import WithButtons
from agents.admin.rules import field_of, help_of, inherited, initial, read_values, sentence
from agents.models import Agent
from agents.rules import settings
from agents.rules.base import Threshold
from teams.admin.projects import actor

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
    return [rule for rule in rules.every().values() if replay.is_tried(rule)]


class TryForm(forms.Form):
    """The thresholds of one rule, as an agent would have them."""

    def __init__(self, rule: rules.Rule, agent: Agent, data: Any = None) -> None:
        super().__init__(data, initial={"hours": DAY})
        self.rule = rule
        base, own = rules.in_force(rule, *inherited(agent)), agent.rules.get(rule.KIND, {})
        for one in rule.THRESHOLDS:
            field = field_of(one)
            field.help_text = help_of(one, base)
            field.initial = getattr(agent, one.name) if one.column else initial(one, own)
            self.fields[_parameter(one)] = field
        self.fields["hours"] = forms.TypedChoiceField(
            choices=HOURS, coerce=int, label="Tried on", widget=UnfoldAdminSelectWidget
        )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        values = {one.name: cleaned.get(_parameter(one)) for one in self.rule.THRESHOLDS}
        given, wrong = read_values(self.rule.THRESHOLDS, values)
        found = settings.wrong_values(self.rule.THRESHOLDS, given)
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


def drawn(trial: replay.Trial) -> Drawing:
    span = (trial.until - trial.since) / (TICKS - 1)
    return Drawing(
        [_bar(trial, one.fired_at, one.over_at, one.finding.severity, one.finding.reason) for one in trial.episodes],
        [_bar(trial, one.opened_at, one.cleared_at, one.severity, one.reason) for one in trial.real],
        _place(trial, trial.covered_from),
        [trial.since + span * number for number in range(TICKS)],
    )


def _bar(trial: replay.Trial, start: datetime, end: datetime | None, severity: str, said: str) -> Bar:
    x, right = _place(trial, start), _place(trial, end or trial.until)
    width = max(NARROWEST, right - x)
    return Bar(round(min(x, WIDTH - width), 1), round(width, 1), severity, said)


def _place(trial: replay.Trial, at: datetime) -> float:
    share = (at - trial.since) / (trial.until - trial.since)
    return round(WIDTH * min(1.0, max(0.0, share)), 1)


class WithTrying(WithButtons):
    """And a page on which a rule is tried, at `<id>/try/`."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.try_view)
        return [path("<path:object_id>/try/", view, name="agents_agent_try"), *super().get_urls()]

    def try_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        agent: Agent = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, agent):
            raise PermissionDenied
        data = request.POST if request.method == "POST" else request.GET
        rule = rules.every().get(data.get("rule", FIRST))
        if rule is None or not replay.is_tried(rule):
            raise Http404("There is no such rule to try.")
        form = TryForm(rule, agent, data if "hours" in data else None)
        if request.method == "POST":
            return self._take(request, agent, form)
        return self._show(request, agent, form)

    def _show(self, request: HttpRequest, agent: Agent, form: TryForm) -> TemplateResponse:
        now, rule = timezone.now(), form.rule
        trial = _tried(agent, form, now) if form.is_valid() else None
        context = {
            **self.admin_site.each_context(request),
            "title": f"Try on history: {agent}",
            "opts": self.opts,
            "original": agent,
            "now": now,
            "rule": rule,
            "sentence": sentence(rule),
            "on": rules.in_force(rule, agent.project.rules, agent.rules).on,
            "rules": can_be_tried(),
            "form": form,
            "trial": trial,
            "drawing": drawn(trial) if trial else None,
            "may_take": self.has_change_permission(request, agent),
            "asked": [(name, request.GET.get(name, "")) for name in form.fields],
        }
        return TemplateResponse(request, "agents/try.html", context)

    def _take(self, request: HttpRequest, agent: Agent, form: TryForm) -> HttpResponse:
        if not self.has_change_permission(request, agent):
            raise PermissionDenied
        if not form.is_valid():
            return self._show(request, agent, form)
        switch_on = "switch_on" in request.POST
        changes, now = _changes(agent, form.rule, form.cleaned_data["given"], switch_on=switch_on), timezone.now()
        stored = Agent.objects.select_related("project__team").get(pk=agent.pk)
        services.change_agent(agent=stored, changes=changes, actor=actor(request), now=now)
        said = f"{agent} uses these thresholds of the rule {form.rule.LABEL.lower()} from now on."
        messages.success(request, said)
        return redirect("admin:agents_agent_change", agent.pk)


def _tried(agent: Agent, form: TryForm, now: datetime) -> replay.Trial:
    since = now - timedelta(hours=form.cleaned_data["hours"])
    return replay.of_agent(agent, form.rule, form.cleaned_data["given"], since, now, alone=True)


def _changes(agent: Agent, rule: rules.Rule, given: Mapping[str, Any], *, switch_on: bool) -> dict[str, Any]:
    """What `services.change_agent` is to set: the rule's thresholds as they were tried, the other rules as they are."""
    columns = [one.name for one in rule.THRESHOLDS if one.column]
    changes: dict[str, Any] = {name: replay.as_column(name, given.get(name)) for name in columns}
    own = agent.rules.get(rule.KIND, {})
    switch = (
        {settings.ON: True} if switch_on else {name: own[name] for name in (settings.ON, settings.OFF) if name in own}
    )
    values = {**switch, **{name: value for name, value in given.items() if name not in columns}}
    others = {kind: found for kind, found in agent.rules.items() if kind != rule.KIND}
    return {**changes, "rules": {**others, **({rule.KIND: values} if values else {})}}
