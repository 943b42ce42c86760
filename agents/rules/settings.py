"""What people set of rules: switches and thresholds, checked, and put together. An agent's goes over its project's.

As JSON: `{"loop": {"off": true}}`, `{"call_rate": {"on": true, "calls": 20}}`. `off` and `on` are one switch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from agents.rules.thresholds import PER_TOOL, Threshold, Thresholds

Given = Mapping[str, Mapping[str, Any]]
ON, OFF = "on", "off"
# One agent's tools are known by name to somebody; more than this nobody has typed.
MAX_TOOLS: Final = 50
MAX_TOOL_LENGTH: Final = 50


@dataclass(frozen=True, slots=True)
class InForce:
    """A rule's switch, and its thresholds by name; those without a default only where somebody set them."""

    on: bool
    thresholds: Mapping[str, Any]


def in_force(kind: str, declared: Thresholds, levels: Sequence[Given], *, on: bool) -> InForce:
    """What holds after these levels, the weakest first. `on` is the rule's own default."""
    said_of_it = [given for level in levels if (given := level.get(kind))]
    if not said_of_it:
        return _untouched(declared, on)
    values = dict(_untouched(declared, on).thresholds)
    for given in said_of_it:
        said = switched(given)
        on = on if said is None else said
        values |= {name: value for name, value in given.items() if _is_good(declared, name, value)}
    return InForce(on, values)


@lru_cache(maxsize=256)
def _untouched(declared: Thresholds, on: bool) -> InForce:
    """The defaults: nearly all agents have them of nearly all rules, so they are made once."""
    return InForce(on, {one.name: one.default for one in declared if one.default is not None and not one.column})


def switched(given: Mapping[str, Any]) -> bool | None:
    """The switch as one level sets it; None where it leaves it alone."""
    if ON in given:
        return bool(given[ON])
    return not given[OFF] if OFF in given else None


def _is_good(declared: Thresholds, name: str, value: Any) -> bool:
    return name not in (ON, OFF) and not _wrong_value(declared, name, value)


def wrong(given: Mapping[str, Any], declared: Mapping[str, Thresholds]) -> dict[str, str]:
    """Sentences by `rule` or `rule.threshold`; empty if all is well."""
    found: dict[str, str] = {}
    for kind, values in given.items():
        if kind not in declared:
            found[str(kind)[:MAX_TOOL_LENGTH]] = f"is no rule; there are {', '.join(declared)}"
        elif not isinstance(values, Mapping):
            found[kind] = 'must be an object, e.g. {"off": true}'
        else:
            found |= _wrong_of(kind, values, declared[kind])
    return found


def _wrong_of(kind: str, values: Mapping[str, Any], declared: Thresholds) -> dict[str, str]:
    if len(values) > MAX_TOOLS:
        return {kind: f"at most {MAX_TOOLS} entries"}
    if ON in values and OFF in values:
        return {kind: "either `on` or `off`"}
    reasons = {f"{kind}.{name}"[:100]: _wrong_value(declared, name, value) for name, value in values.items()}
    return {place: why for place, why in reasons.items() if why}


def wrong_values(declared: Thresholds, given: Mapping[str, Any]) -> dict[str, str]:
    """The same for the thresholds of one rule by themselves, an agent's own settings among them."""
    found: dict[str, str] = {}
    for name, value in given.items():
        threshold = named(declared, str(name))
        why = out_of_range(threshold, value) if threshold else _no_such(declared, also_columns=True)
        found |= {str(name)[:MAX_TOOL_LENGTH]: why} if why else {}
    return found


def _no_such(declared: Thresholds, *, also_columns: bool = False) -> str:
    known = [one.name for one in declared if also_columns or not one.column]
    return f"is no threshold of it; there {'is' if len(known) == 1 else 'are'} {', '.join(known) or 'none'}"


def _wrong_value(declared: Thresholds, name: str, value: Any) -> str:
    if name in (ON, OFF):
        return "" if isinstance(value, bool) else "must be true or false"
    threshold = named(declared, name)
    if threshold is None:
        return _no_such(declared)
    if threshold.column:
        return f"is a setting of the agent itself: set its `{name}`"
    return out_of_range(threshold, value)


def named(declared: Thresholds, name: str) -> Threshold | None:
    """The threshold of that name; of `budget:search` it is `budget:TOOL`."""
    stem, colon, tool = name.partition(":")
    wanted = stem + PER_TOOL if colon and 0 < len(tool) <= MAX_TOOL_LENGTH and tool.isprintable() else name
    return next((one for one in declared if one.name == wanted and one.per_tool == bool(colon)), None)


def out_of_range(threshold: Threshold, value: Any) -> str:
    """Why a threshold cannot have this value; empty if it can."""
    if threshold.kind is bool:
        return "" if isinstance(value, bool) else "must be true or false"
    # A bool is an int to Python; the comparison also refuses NaN, and numbers that no float can hold.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = threshold.kind is int
    if not is_number or not threshold.least <= value <= threshold.most or (whole and value != int(value)):
        return (
            f"must be a {'whole ' if whole else ''}number from {spelled(threshold.least)} to {spelled(threshold.most)}"
        )
    return ""


def spelled(number: float) -> str:
    """`1,800`, `0.5`."""
    return f"{int(number):,}" if number == int(number) else f"{number:g}"
