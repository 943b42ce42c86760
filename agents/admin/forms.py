"""What a person may set of an agent. The API's own rules check it, so that both take the same."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget

from agents.admin.rules import RulesForm
from agents.api.changes import AgentChanges
from agents.fleet.services import SETTABLE, aliases_of
from agents.models import Agent, AgentName
from billing import limits
from teams.forms import LabelsField


class AgentForm(RulesForm):
    aliases = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Other names it reports under, one a line: what the SDK and the runner call the same agent.",
    )

    labels = LabelsField(help_text="One name=value a line, e.g. env=production.")

    class Meta:
        model = Agent
        fields = tuple(name for name in SETTABLE if name != "rules")
        labels = {"daily_budget_usd": "Daily budget ($)", "run_budget_usd": "Budget of a run ($)"}
        help_texts = {
            "kind": "A job ends by itself: its silence is no alarm.",
            "daily_budget_usd": "A warning at 80 %, on hold at 100 %; from midnight in the project’s time zone.",
            "run_budget_usd": "The same, from one start of the client to the next.",
            "daily_token_limit": "The same, in tokens a day; those of models without a known price count, too.",
            "restart_type": "Empty, with the target: what its runner reports.",
            "restart_target": "The name there: a systemd unit, a container, a PID file.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["aliases"] = "\n".join(aliases_of(self.instance))

    def clean_aliases(self) -> list[str]:
        lines = (line.strip() for line in self.cleaned_data["aliases"].splitlines())
        wanted = list(dict.fromkeys(line for line in lines if line and line != self.instance.name))
        taken = AgentName.objects.filter(project=self.instance.project_id, name__in=wanted)
        other = taken.exclude(agent=self.instance).select_related("agent").first()
        if other is not None:
            raise forms.ValidationError(f"“{other.name}” is a name of the agent {other.agent}.")
        return wanted

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        given = {name: value for name, value in cleaned.items() if name in (*SETTABLE, "aliases")}
        # What is wrong with rules is said beside their own fields.
        checked = AgentChanges(data={name: value for name, value in given.items() if name != "rules"})
        if not checked.is_valid():
            for name, wrong in checked.errors.items():
                self.add_error(name, [str(one) for one in _flat(wrong)])
        if bool(cleaned.get("restart_type")) != bool(cleaned.get("restart_target")):
            self.add_error("restart_target", "Set type and target together, or neither.")
        if cleaned.get("interval") and "interval" in self.changed_data:
            why = limits.too_short(self.instance.project.team_id, cleaned["interval"])
            if why:
                self.add_error("interval", why)
        return cleaned

    @property
    def changes(self) -> dict[str, Any]:
        """Only what was changed, for `services.change_agent`; it compares `rules` itself."""
        return {name: self.cleaned_data[name] for name in (*self.changed_data, "rules")}


def _flat(wrong: Any) -> list[Any]:
    """The framework nests errors as deep as the value."""
    if isinstance(wrong, dict):
        return [one for inner in wrong.values() for one in _flat(inner)]
    return [one for inner in wrong for one in _flat(inner)] if isinstance(wrong, list) else [wrong]


class NewAgentForm(forms.ModelForm[Agent]):
    class Meta:
        model = Agent
        fields = ("project", "name", "kind")
        help_texts = {"name": "As the agent will report it.", "kind": "A job ends by itself: its silence is no alarm."}

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        project, name = cleaned.get("project"), cleaned.get("name")
        if project and name:
            checked = AgentChanges(data={"aliases": [name]})
            if not checked.is_valid():
                self.add_error("name", [str(one) for one in _flat(checked.errors["aliases"])])
            if AgentName.objects.filter(project=project, name=name).exists():
                self.add_error("name", f"“{name}” is a name of an agent of this project already.")
        return cleaned
