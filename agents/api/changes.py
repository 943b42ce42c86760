"""Serializers that validate an agent's settings, for the API and the admin's forms."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agents import rules
from agents.domain.heartbeat import MAX_NAME_LENGTH
from agents.models import Agent, RestartType
from agents.models.agent import WEB_ADDRESS

MAX_SECONDS: Final = 366 * 86_400
MAX_LABELS: Final = 50
MAX_ALIASES: Final = 20
MAX_TOKENS: Final = 10**15


class Seconds(serializers.FloatField):
    """A JSON number. REST framework's FloatField also accepts "nan" and true."""

    def __init__(self, minimum: float) -> None:
        super().__init__(min_value=minimum, max_value=MAX_SECONDS, allow_null=True, required=False)

    def to_internal_value(self, data: Any) -> float:
        # The comparison also rejects NaN, and integers too large for a float.
        if isinstance(data, bool) or not isinstance(data, int | float) or not -MAX_SECONDS <= data <= MAX_SECONDS:
            raise serializers.ValidationError("must be a number of seconds, up to a year")
        return float(data)


@extend_schema_field({"type": ["number", "null"], "minimum": 0})
class Dollars(serializers.DecimalField):
    """A JSON number; a string is accepted too."""

    def __init__(self) -> None:
        super().__init__(12, 6, min_value=0, allow_null=True, required=False)


class Name(serializers.CharField):
    def __init__(self) -> None:
        super().__init__(max_length=MAX_NAME_LENGTH)

    def to_internal_value(self, data: Any) -> str:
        name: str = super().to_internal_value(data)
        if not name.isprintable():
            raise serializers.ValidationError("must contain only printable characters")
        return name


class RulesField(serializers.DictField):
    """Switches and thresholds of known rules, within their bounds. Empty rules are dropped."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=serializers.DictField(), **kwargs)

    def to_internal_value(self, data: Any) -> dict[str, dict[str, Any]]:
        changes: dict[str, dict[str, Any]] = super().to_internal_value(data)
        problems = rules.wrong(changes)
        if problems:
            raise serializers.ValidationError([f"{location} {problem}" for location, problem in problems.items()])
        return {kind: values for kind, values in changes.items() if values}


class NewAgent(serializers.Serializer[Any]):
    name = Name()
    kind = serializers.ChoiceField(Agent.Kind.choices, default=Agent.Kind.AGENT)


class AgentChanges(serializers.Serializer[Any]):
    """Only the fields sent are changed; null resets a setting. Unknown fields are ignored."""

    description = serializers.CharField(max_length=300, allow_blank=True, required=False)
    owner = serializers.CharField(max_length=200, allow_blank=True, required=False)
    runbook_url = serializers.CharField(max_length=500, allow_blank=True, required=False, validators=[WEB_ADDRESS])
    interval = Seconds(1)
    grace = Seconds(5)
    progress_timeout = Seconds(5)
    daily_budget_usd = Dollars()
    run_budget_usd = Dollars()
    daily_token_limit = serializers.IntegerField(min_value=0, max_value=MAX_TOKENS, allow_null=True, required=False)
    labels = serializers.DictField(child=serializers.CharField(max_length=200), required=False)
    kind = serializers.ChoiceField(Agent.Kind.choices, required=False)
    aliases = serializers.ListField(child=Name(), max_length=MAX_ALIASES, required=False)
    restart_policy = serializers.ChoiceField(Agent.RestartPolicy.choices, required=False)
    restart_type = serializers.ChoiceField(RestartType.choices, allow_blank=True, required=False)
    restart_target = serializers.CharField(max_length=300, allow_blank=True, required=False)
    unsafe_to_repeat = serializers.BooleanField(required=False)
    rules = RulesField(required=False)

    def validate_labels(self, labels: dict[str, str]) -> dict[str, str]:
        if len(labels) > MAX_LABELS or any(not 1 <= len(name) <= 50 or not name.isprintable() for name in labels):
            raise serializers.ValidationError(
                f"at most {MAX_LABELS} labels, with names of 1 to 50 printable characters"
            )
        return labels
