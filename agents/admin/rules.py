"""Rules as form fields: one section per rule, on the pages of an agent and of a project.

An empty field inherits: an agent from its project, a project from the rule's default. The inherited value is shown
beside the field, with the reason for the default.
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
from agents.review import backtest, stops
from agents.rules import settings
from agents.rules.evidence import Setting
from agents.rules.thresholds import Threshold
from teams.models import Project

PREFIX: Final = "rule__"
# Labels of thresholds whose name is not a good label.
LABELS: Final = {
    "calls": "Calls per minute",
    "budget": "Per-tool limit",
    "poller": "Polling tools",
    "limit_mb": "Memory limit",
    "daily_budget_usd": "Daily budget",
    "run_budget_usd": "Per-run budget",
    "pace": "Spend rate",
    "grace": "Grace period",
    "errors": "Errors",
    "times": "Times repeated",
}
# Units that a label already names.
UNITS_IN_LABELS: Final = {"calls": "", "repeats": "", "times": ""}
SWITCH: Final = "switch"
YES, NO = ("yes", "true", "on"), ("no", "false", "off")
READ_ONLY: Final = ("Rules", {"classes": ["collapse"], "fields": ["rules_in_force"]})
Row = Agent | Project


def field_name(kind: str, threshold: str) -> str:
    return f"{PREFIX}{kind}__{threshold.partition(':')[0]}"


def setting_url(agent: Agent, kind: str, setting: Setting) -> str:
    """The URL of the form field for a setting: on the agent's page, or on its project's."""
    if setting.of_project:
        return f"{reverse('admin:teams_project_change', args=[agent.project_id])}#id_{setting.threshold}"
    thresholds = rules.every()[kind].THRESHOLDS
    column = any(threshold.column for threshold in thresholds if threshold.name == setting.threshold)
    field = setting.threshold if column else field_name(kind, setting.threshold or SWITCH)
    return f"{reverse('admin:agents_agent_change', args=[agent.pk])}#id_{field}"


def is_rule_field(threshold: Threshold) -> bool:
    """Whether it has a field here; an agent's own settings are edited elsewhere on the page."""
    return not threshold.column


def fields() -> dict[str, forms.Field]:
    """Fields of all rules, to be added to a form class."""
    declared: dict[str, forms.Field] = {}
    for kind, rule in rules.every().items():
        declared[field_name(kind, SWITCH)] = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)
        thresholds = filter(is_rule_field, rule.THRESHOLDS)
        declared |= {field_name(kind, threshold.name): field_of(threshold) for threshold in thresholds}
    return declared


def field_of(threshold: Threshold) -> forms.Field:
    label = label_of(threshold)
    if threshold.per_tool:
        return forms.CharField(required=False, label=label, widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}))
    if threshold.kind is bool:
        choices = [("", "inherited"), ("yes", "yes"), ("no", "no")]
        return forms.ChoiceField(required=False, label=label, choices=choices, widget=UnfoldAdminSelectWidget)
    limits = {"min_value": threshold.minimum, "max_value": threshold.maximum}
    bounds: dict[str, Any] = {"required": False, "label": label, **limits}
    if threshold.kind is int:
        return forms.IntegerField(widget=UnfoldAdminIntegerFieldWidget, **bounds)
    return forms.FloatField(widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}), **bounds)


def label_of(threshold: Threshold) -> str:
    """`Memory limit (MB)`."""
    name = threshold.name.partition(":")[0]
    label, unit = LABELS.get(name) or name.replace("_", " ").capitalize(), UNITS_IN_LABELS.get(name, threshold.unit)
    return f"{label} ({unit})" if unit else label


def fieldsets() -> list[tuple[str, dict[str, Any]]]:
    """One section per rule."""
    return [(rule.LABEL, _section(rule)) for rule in rules.every().values()]


def _section(rule: rules.Rule) -> dict[str, Any]:
    names = [field_name(rule.KIND, SWITCH)]
    names += [field_name(rule.KIND, threshold.name) for threshold in rule.THRESHOLDS if is_rule_field(threshold)]
    return {"classes": ["collapse"], "fields": names}


class Head(NamedTuple):
    """The summary line of a rule's section. `is_own`: set on this agent or project itself."""

    kind: str
    label: str
    sentence: str
    is_on: bool
    is_own: bool
    is_testable: bool
    can_hold: bool


class Section(NamedTuple):
    """A Django fieldset; with a summary line if it belongs to a rule, and open if a field has an error."""

    fieldset: Any
    head: Head | None
    is_open: bool


def form_sections(form: Iterable[Any], row: Row) -> list[Section]:
    # By field, not by name: another section may have the name of a rule.
    heads = {field_name(kind, SWITCH): _head(rule, row) for kind, rule in rules.every().items()}
    return [Section(fieldset, _head_of(fieldset, heads), _has_errors(fieldset)) for fieldset in form]


def _head_of(fieldset: Any, heads: Mapping[str, Head]) -> Head | None:
    return next((heads[name] for name in flatten(fieldset.fields) if name in heads), None)


def _has_errors(fieldset: Any) -> bool:
    # Django overlooks fields that share a line.
    return any(name in fieldset.form.errors for name in flatten(fieldset.fields))


def _head(rule: rules.Rule, row: Row) -> Head:
    is_on, is_own = rules.in_force(rule, *levels(row)).on, bool(row.rules.get(rule.KIND))
    return Head(rule.KIND, rule.LABEL, sentence(rule), is_on, is_own, backtest.can_backtest(rule), stops.can_hold(rule))


def sentence(rule: rules.Rule) -> str:
    """The first line of the rule's docstring."""
    return plain((rule.__doc__ or "").strip().partition("\n")[0])


def inherited(row: Row | None) -> list[settings.Given]:
    """Settings that the row inherits, weakest first."""
    return [row.project.rules] if isinstance(row, Agent) else []


def levels(row: Row | None) -> list[settings.Given]:
    return inherited(row) + ([row.rules] if row is not None else [])


def in_words(row: Row) -> str:
    """All rules as one text, for people with read access only."""
    return "; ".join(_rule_in_words(rule, row) for rule in rules.every().values())


def _rule_in_words(rule: rules.Rule, row: Row) -> str:
    current = rules.in_force(rule, *levels(row))
    values = ", ".join(f"{name} {_value(value)}" for name, value in current.thresholds.items())
    return f"{rule.LABEL} {'on' if current.on else 'off'}{f' ({values})' if values and current.on else ''}"


def _value(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else settings.spelled(value)


class RulesForm(forms.ModelForm[Any]):
    """A form with the fields that `with_rules` adds; their values together are `cleaned_data["rules"]`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        above = inherited(self.instance if self.instance.pk else None)
        for kind, rule in rules.every().items():
            if field_name(kind, SWITCH) in self.fields:
                self._fill(rule, self.instance.rules.get(kind) or {}, above)

    def _fill(self, rule: rules.Rule, own: dict[str, Any], above: list[settings.Given]) -> None:
        is_on, base = settings.switched(own), rules.in_force(rule, *above)
        switch: Any = self.fields[field_name(rule.KIND, SWITCH)]
        switch.label = "Rule"
        switch.choices = [("", f"inherited: {'on' if base.on else 'off'}"), ("on", "on"), ("off", "off")]
        self.initial[field_name(rule.KIND, SWITCH)] = "" if is_on is None else "on" if is_on else "off"
        for threshold in filter(is_rule_field, rule.THRESHOLDS):
            name = field_name(rule.KIND, threshold.name)
            self.initial[name] = initial(threshold, own)
            self.fields[name].help_text = help_text(threshold, base)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        changed = {kind: values for kind, rule in rules.every().items() if (values := self._values(rule, cleaned))}
        for location, problem in rules.wrong(changed).items():
            kind, _, threshold = location.partition(".")
            self._add_error(field_name(kind, threshold or SWITCH), f"{location} {problem}")
        cleaned["rules"] = changed
        return cleaned

    def _values(self, rule: rules.Rule, cleaned: dict[str, Any]) -> dict[str, Any]:
        switch = cleaned.get(field_name(rule.KIND, SWITCH))
        thresholds = list(filter(is_rule_field, rule.THRESHOLDS))
        entered = {threshold.name: cleaned.get(field_name(rule.KIND, threshold.name)) for threshold in thresholds}
        values, unreadable = read_values(thresholds, entered)
        for name, problem in unreadable:
            self._add_error(field_name(rule.KIND, name), problem)
        return {**({switch: True} if switch else {}), **values}

    def _add_error(self, name: str, problem: str) -> None:
        self.add_error(name if name in self.fields else None, problem)

    @property
    def changed_data(self) -> list[str]:
        """Without rule fields: the service compares the resulting `rules` itself."""
        return [name for name in super().changed_data if not name.startswith(PREFIX)]


def read_values(declared: Iterable[Threshold], cleaned: Mapping[str, Any]) -> tuple[dict[str, Any], list[list[str]]]:
    """Entered thresholds by name, and errors as pairs of a name and a sentence."""
    values: dict[str, Any] = {}
    errors: list[list[str]] = []
    for threshold in declared:
        value = cleaned.get(threshold.name)
        if threshold.per_tool:
            per_tool, wrong_lines = _read_lines(threshold, value or "")
            values |= per_tool
            errors += wrong_lines
        elif value not in (None, ""):
            values[threshold.name] = value == "yes" if threshold.kind is bool else value
    return values, errors


def _read_lines(threshold: Threshold, text: str) -> tuple[dict[str, Any], list[list[str]]]:
    values: dict[str, Any] = {}
    errors: list[list[str]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        tool, _, value = (part.strip() for part in line.rpartition("="))
        parsed = _parsed(threshold, value)
        if not tool or parsed is None:
            expected = "yes or no" if threshold.kind is bool else "a whole number"
            errors.append([threshold.name, f"“{line}”: write a tool name, =, and {expected}"])
        else:
            values[f"{threshold.name.partition(':')[0]}:{tool}"] = parsed
    return values, errors


def initial(threshold: Threshold, own: Mapping[str, Any]) -> Any:
    """The initial value of a threshold's field."""
    return _tool_lines(threshold, own) if threshold.per_tool else _initial(threshold, own)


def _initial(threshold: Threshold, own: Mapping[str, Any]) -> Any:
    value = own.get(threshold.name)
    return ("yes" if value else "no") if threshold.kind is bool and value is not None else value


def _tool_lines(threshold: Threshold, own: Mapping[str, Any]) -> str:
    stem = threshold.name.partition(":")[0] + ":"
    pairs = [(name.removeprefix(stem), value) for name, value in sorted(own.items()) if name.startswith(stem)]
    return "\n".join(f"{tool} = {_value(value).replace(',', '')}" for tool, value in pairs)


def _parsed(threshold: Threshold, text: str) -> Any:
    if threshold.kind is bool:
        return True if text.lower() in YES else False if text.lower() in NO else None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def help_text(threshold: Threshold, base: settings.InForce) -> str:
    """The value that an empty field inherits, and why."""
    return plain(_help_text(threshold, base))


def _help_text(threshold: Threshold, base: settings.InForce) -> str:
    if threshold.per_tool:
        example = "get_job = yes" if threshold.kind is bool else "get_job = 20"
        above = [f"{name.partition(':')[2]} = {_value(base.thresholds[name])}" for name in _of_tools(threshold, base)]
        return f"One tool per line, e.g. {example}. Inherited: {', '.join(above) or 'none'}. {threshold.why}"
    if threshold.name not in base.thresholds:
        return f"Default: {threshold.why}"
    origin = "Default" if base.thresholds[threshold.name] == threshold.default else "Set for the project"
    return f"{origin}: {_value(base.thresholds[threshold.name])} {threshold.unit}. {threshold.why}"


def _of_tools(threshold: Threshold, base: settings.InForce) -> list[str]:
    return [name for name in sorted(base.thresholds) if name.startswith(threshold.name.partition(":")[0] + ":")]


def with_rules(form: type[forms.ModelForm[Any]]) -> type[Any]:
    """The form class with fields for all rules, including rules added later."""
    return type(form.__name__, (form,), fields())
