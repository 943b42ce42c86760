"""What `PATCH /api/v1/agents/{id}` takes."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agents import rules
from agents.domain.heartbeat import MAX_NAME_LENGTH
from agents.models import Agent, RestartType

YEAR: Final = 366 * 86_400
MAX_LABELS: Final = 50
MAX_ALIASES: Final = 20
MAX_TOKENS: Final = 10**15


class Seconds(serializers.FloatField):
    """A JSON number. The framework's own field also takes "nan" and true."""

    def __init__(self, least: float) -> None:
        super().__init__(min_value=least, max_value=YEAR, allow_null=True, required=False)

    def to_internal_value(self, data: Any) -> float:
        # The comparison also refuses NaN, and integers that no float can hold.
        if isinstance(data, bool) or not isinstance(data, int | float) or not -YEAR <= data <= YEAR:
            raise serializers.ValidationError("must be a number of seconds, a year at most")
        return float(data)


@extend_schema_field({"type": ["number", "null"], "minimum": 0})
class Dollars(serializers.DecimalField):
    """A JSON number; a text is taken too."""

    def __init__(self) -> None:
        super().__init__(12, 6, min_value=0, allow_null=True, required=False)


class Name(serializers.CharField):
    def __init__(self) -> None:
        super().__init__(max_length=MAX_NAME_LENGTH)

    def to_internal_value(self, data: Any) -> str:
        name: str = super().to_internal_value(data)
        if not name.isprintable():
            raise serializers.ValidationError("must have printable characters only")
        return name


class RulesField(serializers.DictField):
    """Switches and thresholds that there are, within their bounds. What is empty is left out."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=serializers.DictField(), **kwargs)

    def to_internal_value(self, data: Any) -> dict[str, dict[str, Any]]:
        given: dict[str, dict[str, Any]] = super().to_internal_value(data)
        wrong = rules.wrong(given)
        if wrong:
            raise serializers.ValidationError([f"{place} {why}" for place, why in wrong.items()])
        return {kind: values for kind, values in given.items() if values}


class NewAgent(serializers.Serializer[Any]):
    name = Name()
    kind = serializers.ChoiceField(Agent.Kind.choices, default=Agent.Kind.AGENT)


class AgentChanges(serializers.Serializer[Any]):
    """Only what is sent is changed; null takes a setting back. Unknown fields are ignored."""

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
            raise serializers.ValidationError(f"at most {MAX_LABELS}, with names of 1 to 50 printable characters")
        return labels
