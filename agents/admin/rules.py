"""Switches and thresholds as fields: a section for each rule, on an agent's page and on its project's.

A field that is left empty inherits: the agent's from its project, the project's from the rule. What that is stands
beside it, with the sentence that explains the default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from django import forms
from django.contrib.admin.utils import flatten
from django.urls import reverse
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
)

from agents import rules
from agents.models import Agent
from agents.reporting.formatting import plain
from agents.review import backtest
from agents.rules import settings
from agents.rules.evidence import Setting
from agents.rules.thresholds import Threshold
from teams.models import Project

PREFIX: Final = "rule__"
SWITCH: Final = "switch"
YES, NO = ("yes", "true", "on"), ("no", "false", "off")
READ_ONLY: Final = ("Rules", {"classes": ["collapse"], "fields": ["rules_in_force"]})
Row = Agent | Project


def field_name(kind: str, threshold: str) -> str:
    return f"{PREFIX}{kind}__{threshold.partition(':')[0]}"


def address(agent: Agent, kind: str, setting: Setting) -> str:
    """Where a setting of the rule of this KIND is made: the field on the page of the agent, or of its project."""
    if setting.of_project:
        return f"{reverse('admin:teams_project_change', args=[agent.project_id])}#id_{setting.threshold}"
    column = any(one.name == setting.threshold and one.column for one in rules.every()[kind].THRESHOLDS)
    field = setting.threshold if column else field_name(kind, setting.threshold or SWITCH)
    return f"{reverse('admin:agents_agent_change', args=[agent.pk])}#id_{field}"


def shown(threshold: Threshold) -> bool:
    """What an agent has a setting of its own for is not shown twice."""
    return not threshold.column


def fields() -> dict[str, forms.Field]:
    """For all rules there are, to be declared by a form."""
    found: dict[str, forms.Field] = {}
    for kind, rule in rules.every().items():
        found[field_name(kind, SWITCH)] = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)
        found |= {field_name(kind, one.name): field_of(one) for one in rule.THRESHOLDS if shown(one)}
    return found


def field_of(one: Threshold) -> forms.Field:
    label = f"{one.name} ({one.unit})" if one.unit else one.name
    if one.per_tool:
        return forms.CharField(required=False, label=label, widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}))
    if one.kind is bool:
        choices = [("", "inherited"), ("yes", "yes"), ("no", "no")]
        return forms.ChoiceField(required=False, label=label, choices=choices, widget=UnfoldAdminSelectWidget)
    bounds: dict[str, Any] = {"required": False, "label": label, "min_value": one.minimum, "max_value": one.maximum}
    if one.kind is int:
        return forms.IntegerField(widget=UnfoldAdminIntegerFieldWidget, **bounds)
    return forms.FloatField(widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}), **bounds)


def fieldsets() -> list[tuple[str, dict[str, Any]]]:
    """A section for each rule."""
    return [(rule.LABEL, _section(rule)) for rule in rules.every().values()]


def _section(rule: rules.Rule) -> dict[str, Any]:
    names = [field_name(rule.KIND, SWITCH)]
    names += [field_name(rule.KIND, one.name) for one in rule.THRESHOLDS if shown(one)]
    return {"classes": ["collapse"], "fields": names}


class Head(NamedTuple):
    """How a rule stands for an agent or a project, in the line of its section. `is_own`: it is set there itself."""

    kind: str
    label: str
    sentence: str
    is_on: bool
    is_own: bool
    is_tried: bool


class Section(NamedTuple):
    """A fieldset of Django's; of a rule with its head, and open where something is wrong in it."""

    fieldset: Any
    head: Head | None
    is_open: bool


def form_sections(form: Iterable[Any], row: Row) -> list[Section]:
    heads = {rule.LABEL: _head(rule, row) for rule in rules.every().values()}
    return [Section(one, heads.get(one.name), _is_wrong(one)) for one in form]


def _is_wrong(fieldset: Any) -> bool:
    """Django does not look at fields that share a line."""
    return any(name in fieldset.form.errors for name in flatten(fieldset.fields))


def _head(rule: rules.Rule, row: Row) -> Head:
    is_on, is_own = rules.in_force(rule, *levels(row)).on, bool(row.rules.get(rule.KIND))
    return Head(rule.KIND, rule.LABEL, sentence(rule), is_on, is_own, backtest.is_tried(rule))


def sentence(rule: rules.Rule) -> str:
    """What the rule says of itself, in its first line."""
    return plain((rule.__doc__ or "").strip().partition("\n")[0])


def inherited(row: Row | None) -> list[settings.Given]:
    """What is set above the row, weakest first."""
    return [row.project.rules] if isinstance(row, Agent) else []


def levels(row: Row | None) -> list[settings.Given]:
    return inherited(row) + ([row.rules] if row is not None else [])


def in_words(row: Row) -> str:
    """All rules in one text, for people who may look and not change."""
    return "; ".join(_one_in_words(rule, row) for rule in rules.every().values())


def _one_in_words(rule: rules.Rule, row: Row) -> str:
    found = rules.in_force(rule, *levels(row))
    values = ", ".join(f"{name} {_value(value)}" for name, value in found.thresholds.items())
    return f"{rule.LABEL} {'on' if found.on else 'off'}{f' ({values})' if values and found.on else ''}"


def _value(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else settings.spelled(value)


class RulesForm(forms.ModelForm[Any]):
    """With a field for each switch and threshold (`with_rules` declares them); together `cleaned_data["rules"]`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        above = inherited(self.instance if self.instance.pk else None)
        for kind, rule in rules.every().items():
            if field_name(kind, SWITCH) in self.fields:
                self._fill(rule, self.instance.rules.get(kind) or {}, above)

    def _fill(self, rule: rules.Rule, own: dict[str, Any], above: list[settings.Given]) -> None:
        said, base = settings.switched(own), rules.in_force(rule, *above)
        switch: Any = self.fields[field_name(rule.KIND, SWITCH)]
        switch.label = "Switch"
        switch.choices = [("", f"inherited: {'on' if base.on else 'off'}"), ("on", "on"), ("off", "off")]
        self.initial[field_name(rule.KIND, SWITCH)] = "" if said is None else "on" if said else "off"
        for one in filter(shown, rule.THRESHOLDS):
            name = field_name(rule.KIND, one.name)
            self.initial[name] = initial(one, own)
            self.fields[name].help_text = help_of(one, base)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        given = {kind: found for kind, rule in rules.every().items() if (found := self._given(rule, cleaned))}
        for place, why in rules.wrong(given).items():
            kind, _, threshold = place.partition(".")
            self._say(field_name(kind, threshold or SWITCH), f"{place} {why}")
        cleaned["rules"] = given
        return cleaned

    def _given(self, rule: rules.Rule, cleaned: dict[str, Any]) -> dict[str, Any]:
        switch = cleaned.get(field_name(rule.KIND, SWITCH))
        values = {one.name: cleaned.get(field_name(rule.KIND, one.name)) for one in rule.THRESHOLDS if shown(one)}
        found, wrong = read_values(filter(shown, rule.THRESHOLDS), values)
        for name, why in wrong:
            self._say(field_name(rule.KIND, name), why)
        return {**({switch: True} if switch else {}), **found}

    def _say(self, name: str, why: str) -> None:
        self.add_error(name if name in self.fields else None, why)

    @property
    def changed_data(self) -> list[str]:
        """Without the fields of rules: what they make together is compared by who saves it."""
        return [name for name in super().changed_data if not name.startswith(PREFIX)]


def read_values(declared: Iterable[Threshold], cleaned: Mapping[str, Any]) -> tuple[dict[str, Any], list[list[str]]]:
    """What a person set by the fields of these thresholds, and what could not be read of it: names and sentences."""
    found: dict[str, Any] = {}
    wrong: list[list[str]] = []
    for one in declared:
        value = cleaned.get(one.name)
        if one.per_tool:
            for line in filter(None, map(str.strip, (value or "").splitlines())):
                tool, parsed = _read_line(one, line)
                if not tool or parsed is None:
                    wanted = "yes or no" if one.kind is bool else "a whole number"
                    wrong.append([one.name, f"“{line}”: write a tool, =, and {wanted}"])
                else:
                    found[f"{one.name.partition(':')[0]}:{tool}"] = parsed
        elif value not in (None, ""):
            found[one.name] = value == "yes" if one.kind is bool else value
    return found, wrong


def _read_line(one: Threshold, line: str) -> tuple[str, Any]:
    tool, _, value = (part.strip() for part in line.rpartition("="))
    return tool, _parsed(one, value)


def initial(one: Threshold, own: Mapping[str, Any]) -> Any:
    """What a threshold's field shows of what is set."""
    return _tool_lines(one, own) if one.per_tool else _initial(one, own)


def _initial(one: Threshold, own: Mapping[str, Any]) -> Any:
    value = own.get(one.name)
    return ("yes" if value else "no") if one.kind is bool and value is not None else value


def _tool_lines(one: Threshold, own: Mapping[str, Any]) -> str:
    stem = one.name.partition(":")[0] + ":"
    pairs = [(name.removeprefix(stem), value) for name, value in sorted(own.items()) if name.startswith(stem)]
    return "\n".join(f"{tool} = {_value(value).replace(',', '')}" for tool, value in pairs)


def _parsed(one: Threshold, text: str) -> Any:
    if one.kind is bool:
        return True if text.lower() in YES else False if text.lower() in NO else None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def help_of(one: Threshold, base: settings.InForce) -> str:
    """What holds where its field is left empty, and why."""
    return plain(_help_of(one, base))


def _help_of(one: Threshold, base: settings.InForce) -> str:
    if one.per_tool:
        example = "get_job = yes" if one.kind is bool else "get_job = 20"
        above = [f"{name.partition(':')[2]} = {_value(base.thresholds[name])}" for name in _of_tools(one, base)]
        return f"One tool a line, e.g. {example}. Inherited: {', '.join(above) or 'nothing'}. {one.why}"
    if one.name not in base.thresholds:
        return f"Empty: {one.why}"
    where = "the default" if base.thresholds[one.name] == one.default else "set for the project"
    return f"Empty: {_value(base.thresholds[one.name])} {one.unit}, {where}. {one.why}"


def _of_tools(one: Threshold, base: settings.InForce) -> list[str]:
    return [name for name in sorted(base.thresholds) if name.startswith(one.name.partition(":")[0] + ":")]


def with_rules(form: type[forms.ModelForm[Any]]) -> type[Any]:
    """The form with the fields of all rules, declared anew: a new rule is in it by itself."""
    return type(form.__name__, (form,), fields())
