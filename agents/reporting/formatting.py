"""Numbers, money and evidence as text; `teams/times.py` formats times. Pure: no Django, no clock.

Durations are seconds, money is whole micro-dollars, times are aware.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any, Final, NamedTuple

from agents import rules
from agents.domain.budgets import Spend
from agents.rules.evidence import DETAIL, NOWHERE, OPEN, SECONDS, TEXT, EvidenceLabel, EvidenceLabels, Setting
from teams.times import duration, exact

# Durations under this many seconds get a decimal place.
_BRIEF: Final = 10
_MICRO: Final = 1_000_000
# Names from programs, marked as code within a sentence.
_CODE: Final = re.compile(r"`([^`\n]+)`")
# Evidence that is a time or a duration although neither its name nor a label says so.
_TIMES: Final = ("at", "deadline")
_DURATIONS: Final = ("interval", "timeout", "seconds")


def short(seconds: float) -> str:
    """Like `duration`, but more precise under ten seconds: `340 ms`, `2.5 s`."""
    if seconds >= _BRIEF:
        return duration(seconds)
    return f"{seconds:.1f} s" if seconds >= 1 else f"{max(0.0, seconds) * 1000:.0f} ms"


def due(at: datetime, now: datetime) -> str:
    """`due in 34 s` before the deadline, `12 min overdue` after it."""
    left = (at - now).total_seconds()
    return f"due in {duration(left)}" if left >= 0 else f"{duration(-left)} overdue"


def money(micros: int) -> str:
    """`$1,234.50`; amounts under a cent keep every digit they need."""
    if 0 < abs(micros) < 10_000:
        return f"${micros / _MICRO:.6f}".rstrip("0")
    return f"${micros / _MICRO:,.2f}"


def spend(spent: Spend, budget: Decimal | None = None) -> str:
    """`$84.00 of $100.00: $70.00 priced by the server, $14.00 as reported`, and tokens without a price."""
    of = "" if budget is None else f" of {money(int(budget * _MICRO))}"
    parts = f": {money(spent.priced)} priced by the server, {money(spent.reported)} as reported" if spent.cost else ""
    rest = f"; {spent.unpriced:,} tokens without a known price not included" if spent.unpriced else ""
    return f"{money(spent.cost)}{of}{parts}{rest}"


def count(number: int) -> str:
    """`950`, `12,400`, `1.2 M`."""
    return f"{number:,}" if abs(number) < _MICRO else f"{number / _MICRO:,.1f} M"


def plain(text: str) -> str:
    """A sentence without code marks, for titles, subjects and forms."""
    return _CODE.sub(r"\1", text)


def pieces(text: str) -> list[tuple[str, bool]]:
    """The parts of a sentence, each with whether it is code."""
    parts = _CODE.split(text)
    return [(part, position % 2 == 1) for position, part in enumerate(parts) if part]


# Evidence


class Fact(NamedTuple):
    """One line of evidence. `text` may hold code in backticks; `at` is set if the value is a time."""

    name: str
    label: str
    text: str
    at: datetime | None = None
    place: str = OPEN


class Explanation(NamedTuple):
    """A signal's evidence for people: shown beside the reason, behind "Details", or as text to copy. `setting` is
    what to change if the behaviour is expected, `rule` the KIND of the rule it belongs to."""

    shown: list[Fact]
    details: list[Fact]
    texts: list[Fact]
    setting: Setting | None
    rule: str

    @property
    def all(self) -> list[Fact]:
        return [*self.shown, *self.texts, *self.details]


def explained(kind: str, evidence: Mapping[str, Any], zone: tzinfo) -> Explanation:
    """A signal's evidence, labelled by the rule that found it."""
    rule = rules.rule_for(kind, evidence)
    every = facts(evidence, rules.words(rule), zone)
    shown, details, texts = ([fact for fact in every if fact.place == place] for place in (OPEN, DETAIL, TEXT))
    return Explanation(shown, details, texts, rules.allow(rule, evidence), rule.KIND if rule else "")


def facts(evidence: Mapping[str, Any], labels: EvidenceLabels, zone: tzinfo) -> list[Fact]:
    """Labelled evidence in the order of the labels, then the rest; empty values are left out."""
    names = [*(name for name in labels if name in evidence), *(name for name in evidence if name not in labels)]
    lines = [_fact(name, evidence[name], labels.get(name), zone) for name in names if name not in ("runner", "budgets")]
    lines += _runner_facts(evidence.get("runner") or {}, labels, zone)
    return [fact for fact in lines if fact.place != NOWHERE and (fact.text or fact.at)]


def _runner_facts(reported: Mapping[str, Any], labels: EvidenceLabels, zone: tzinfo) -> list[Fact]:
    place = labels["runner"].place if "runner" in labels else OPEN
    return [_fact(name, value, EvidenceLabel(default_label(name), place), zone) for name, value in reported.items()]


def _fact(name: str, value: Any, label: EvidenceLabel | None, zone: tzinfo) -> Fact:
    label = label or EvidenceLabel(default_label(name))
    at = _parse_time(value) if name.endswith("_at") or name in _TIMES else None
    return Fact(name, label.label, exact(at, zone) if at else _text(name, value, label), at, label.place)


def default_label(name: str) -> str:
    """The label of an unlabelled name: `last_heartbeat_at` becomes `Last heartbeat`."""
    plain_name = name.removesuffix("_at").removesuffix("_usd").replace("_", " ")
    # Names like NRestarts are known by their exact spelling.
    return plain_name.capitalize() if plain_name.islower() else plain_name


def _text(name: str, value: Any, label: EvidenceLabel) -> str:
    """One value; for an unlabelled number the name says if it is money (`_usd`) or seconds (`_gap`)."""
    if value in (None, "", [], {}):
        return ""
    if label.values and not isinstance(value, list):
        return label.values.get(value, str(value))
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, list):
        return ", ".join(_as_code(str(part), label) for part in value)
    if not isinstance(value, int | float):
        return _as_code(str(value), label)
    return _number(name, value, label) if value or label.place == OPEN else ""


def _as_code(text: str, label: EvidenceLabel) -> str:
    return f"`{text}`" if label.is_code else text


def _number(name: str, value: float, label: EvidenceLabel) -> str:
    if name.endswith("_usd"):
        return money(round(value * _MICRO))
    if label.unit == SECONDS or name in _DURATIONS or name.endswith("_gap"):
        return short(value)
    return f"{value:,} {label.unit}".strip()


def _parse_time(value: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else None
