"""Switches and thresholds that people set, validated and merged. An agent's settings override its project's.

As JSON: `{"loop": {"off": true}}`, `{"call_rate": {"on": true, "calls": 20}}`. `off` and `on` are one switch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agents.rules.thresholds import PER_TOOL, Threshold, Thresholds

Given = Mapping[str, Mapping[str, Any]]
ON, OFF = "on", "off"
# More per-tool entries than this no person has typed.
MAX_TOOLS: Final = 50
MAX_TOOL_LENGTH: Final = 50


@dataclass(frozen=True, slots=True)
class InForce:
    """A rule's effective switch and thresholds; thresholds without a default only where they are set."""

    on: bool
    thresholds: Mapping[str, Any]


def in_force(kind: str, declared: Thresholds, levels: Sequence[Given], default: InForce) -> InForce:
    """Merge these levels over the rule's defaults, later ones overriding earlier ones."""
    set_levels = [given for level in levels if (given := level.get(kind))]
    if not set_levels:
        return default
    on, values = default.on, dict(default.thresholds)
    for given in set_levels:
        switch = switched(given)
        on = on if switch is None else switch
        values |= {name: value for name, value in given.items() if _is_good(declared, name, value)}
    return InForce(on, values)


def defaults(declared: Thresholds, *, on: bool) -> InForce:
    """What is in force where nobody set anything. `on` is the rule's default switch."""
    return InForce(on, {each.name: each.default for each in declared if each.default is not None and not each.column})


def switched(given: Mapping[str, Any]) -> bool | None:
    """The switch as one level sets it; None if it does not."""
    if ON in given:
        return bool(given[ON])
    return not given[OFF] if OFF in given else None


def _is_good(declared: Thresholds, name: str, value: Any) -> bool:
    return name not in (ON, OFF) and not _wrong_value(declared, name, value)


def wrong(given: Mapping[str, Any], declared: Mapping[str, Thresholds]) -> dict[str, str]:
    """Error messages by `rule` or `rule.threshold`; empty if everything is valid."""
    errors: dict[str, str] = {}
    for kind, values in given.items():
        if kind not in declared:
            errors[str(kind)[:MAX_TOOL_LENGTH]] = f"is not a rule; rules are {', '.join(declared)}"
        elif not isinstance(values, Mapping):
            errors[kind] = 'must be an object, e.g. {"off": true}'
        else:
            errors |= _wrong_of(kind, values, declared[kind])
    return errors


def _wrong_of(kind: str, values: Mapping[str, Any], declared: Thresholds) -> dict[str, str]:
    if len(values) > MAX_TOOLS:
        return {kind: f"must have at most {MAX_TOOLS} entries"}
    if ON in values and OFF in values:
        return {kind: "must have either `on` or `off`, not both"}
    reasons = {f"{kind}.{name}"[:100]: _wrong_value(declared, name, value) for name, value in values.items()}
    return {place: why for place, why in reasons.items() if why}


def wrong_values(declared: Thresholds, given: Mapping[str, Any]) -> dict[str, str]:
    """Error messages by threshold for one rule's values, including thresholds that are agent settings."""
    errors: dict[str, str] = {}
    for name, value in given.items():
        threshold = named(declared, str(name))
        why = out_of_range(threshold, value) if threshold else _no_such(declared, also_columns=True)
        errors |= {str(name)[:MAX_TOOL_LENGTH]: why} if why else {}
    return errors


def _no_such(declared: Thresholds, *, also_columns: bool = False) -> str:
    known = [each.name for each in declared if also_columns or not each.column]
    return f"is not a threshold of this rule; it has {', '.join(known) or 'none'}"


def _wrong_value(declared: Thresholds, name: str, value: Any) -> str:
    if name in (ON, OFF):
        return "" if isinstance(value, bool) else "must be true or false"
    threshold = named(declared, name)
    if threshold is None:
        return _no_such(declared)
    if threshold.column:
        return f"is an agent setting: set the agent's `{name}` instead"
    return out_of_range(threshold, value)


def named(declared: Thresholds, name: str) -> Threshold | None:
    """The threshold with that name; for `budget:search` it is `budget:TOOL`."""
    stem, colon, tool = name.partition(":")
    wanted = stem + PER_TOOL if colon and 0 < len(tool) <= MAX_TOOL_LENGTH and tool.isprintable() else name
    return next((each for each in declared if each.name == wanted and each.per_tool == bool(colon)), None)


def out_of_range(threshold: Threshold, value: Any) -> str:
    """Why a value is not allowed; empty if it is."""
    if threshold.kind is bool:
        return "" if isinstance(value, bool) else "must be true or false"
    # In Python a bool is an int. The comparison also refuses NaN and numbers too large for a float.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = threshold.kind is int
    if not is_number or not threshold.minimum <= value <= threshold.maximum or (whole and value != int(value)):
        bounds = f"{spelled(threshold.minimum)} to {spelled(threshold.maximum)}"
        return f"must be a {'whole ' if whole else ''}number from {bounds}"
    return ""


def spelled(number: float) -> str:
    """`1,800`, `0.5`."""
    return f"{int(number):,}" if number == int(number) else f"{number:g}"
