"""Forms for an agent's settings. They validate with the API's serializer, so both accept the same values."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget

from agents.admin.rules import RulesForm
from agents.api.changes import AgentChanges
from agents.fleet.services import SETTABLE, aliases_of
from agents.models import Agent, AgentName
from billing import limits
from teams.forms import LabelsField

KIND_HELP: Final = "A job ends on its own: it is expected by its schedule, and silence between runs is no incident."


class AgentForm(RulesForm):
    aliases = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Other names of this agent, one per line, e.g. what the SDK and the runner call it.",
    )

    labels = LabelsField(help_text="One name=value per line, e.g. env=production.")

    class Meta:
        model = Agent
        fields = tuple(name for name in SETTABLE if name != "rules")
        labels = {
            "runbook_url": "Runbook",
            "interval": "Interval (seconds)",
            "grace": "Grace period (seconds)",
            "progress_timeout": "Progress timeout (seconds)",
            "daily_budget_usd": "Daily budget ($)",
            "run_budget_usd": "Per-run budget ($)",
            "restart_type": "Runs under",
            "restart_target": "Unit, container or PID file",
            "unsafe_to_repeat": "Not idempotent",
        }
        help_texts = {
            "description": "What it does, in one sentence. Shown on its page and in messages.",
            "owner": "Whom to ask: a person, a team or a channel. Shown on its page and in messages.",
            "runbook_url": "Link to what to do when something is wrong. Shown on its page and in messages.",
            "interval": "How often the agent reports. Empty: declared by the client, else learned, else 60.",
            "grace": "Extra time after the interval before the agent is down. Empty: the project’s, else one interval.",
            "progress_timeout": "Time without progress before the agent is stalled. Empty: declared, else learned.",
            "kind": KIND_HELP,
            "daily_budget_usd": "Warning at 80 %, hold at 100 %. Resets at midnight in the project’s time zone.",
            "run_budget_usd": "Warning at 80 %, hold at 100 %. Resets when the client starts.",
            "daily_token_limit": "Warning at 80 %, hold at 100 %. Includes tokens without a known price.",
            "restart_type": "Leave this and the next field empty to use what the runner reports.",
            "restart_target": "Its name or path, e.g. research-agent.service.",
            "unsafe_to_repeat": "Never restart automatically, e.g. because a payment could be made twice.",
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
            raise forms.ValidationError(f"“{other.name}” is already a name of the agent {other.agent}.")
        return wanted

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        # Errors in rules are shown at their own fields.
        settable = {
            name: value for name, value in cleaned.items() if name in (*SETTABLE, "aliases") and name != "rules"
        }
        checked = AgentChanges(data=settable)
        if not checked.is_valid():
            for name, errors in checked.errors.items():
                self.add_error(name, [str(error) for error in _flatten(errors)])
        if bool(cleaned.get("restart_type")) != bool(cleaned.get("restart_target")):
            self.add_error("restart_target", "Set type and target together, or neither.")
        if cleaned.get("interval") and "interval" in self.changed_data:
            problem = limits.too_short(self.instance.project.team_id, cleaned["interval"])
            if problem:
                self.add_error("interval", problem)
        return cleaned

    @property
    def changes(self) -> dict[str, Any]:
        """Changed fields for `services.change_agent`, which compares `rules` itself."""
        return {name: self.cleaned_data[name] for name in (*self.changed_data, "rules")}


def _flatten(errors: Any) -> list[Any]:
    """REST framework nests errors as deep as the value."""
    if isinstance(errors, dict):
        return [error for nested in errors.values() for error in _flatten(nested)]
    return [error for nested in errors for error in _flatten(nested)] if isinstance(errors, list) else [errors]


class NewAgentForm(forms.ModelForm[Agent]):
    class Meta:
        model = Agent
        fields = ("project", "name", "kind")
        help_texts = {"name": "Exactly as the agent will report it.", "kind": KIND_HELP}

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        project, name = cleaned.get("project"), cleaned.get("name")
        if project and name:
            checked = AgentChanges(data={"aliases": [name]})
            if not checked.is_valid():
                self.add_error("name", [str(error) for error in _flatten(checked.errors["aliases"])])
            if AgentName.objects.filter(project=project, name=name).exists():
                self.add_error("name", f"“{name}” is already a name of an agent in this project.")
        return cleaned
