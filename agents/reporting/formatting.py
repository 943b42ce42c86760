"""How pages say numbers, money and evidence; `teams/times.py` says times. Pure: no Django, no clock.

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

# Shorter than this many seconds, tenths are told.
_BRIEF: Final = 10
_MICRO: Final = 1_000_000
# What programs named, in sentences for people.
_CODE: Final = re.compile(r"`([^`\n]+)`")
# Names of evidence that are times or durations though nothing says so.
_TIMES: Final = ("at", "deadline")
_DURATIONS: Final = ("interval", "timeout", "seconds")


def short(seconds: float) -> str:
    """As `duration`, but of what takes less than ten seconds more exactly: `340 ms`, `2.5 s`."""
    if seconds >= _BRIEF:
        return duration(seconds)
    return f"{seconds:.1f} s" if seconds >= 1 else f"{max(0.0, seconds) * 1000:.0f} ms"


def due(at: datetime, now: datetime) -> str:
    """`due in 34 s` before a moment, `12 min overdue` after it."""
    left = (at - now).total_seconds()
    return f"due in {duration(left)}" if left >= 0 else f"{duration(-left)} overdue"


def money(micros: int) -> str:
    """`$1,234.50`; under a cent with as many places as it needs."""
    if 0 < abs(micros) < 10_000:
        return f"${micros / _MICRO:.6f}".rstrip("0")
    return f"${micros / _MICRO:,.2f}"


def spend(spent: Spend, budget: Decimal | None = None) -> str:
    """`$84.00 of $100.00: $70.00 priced by the server, $14.00 as reported`, and tokens that are in none of it."""
    of = "" if budget is None else f" of {money(int(budget * _MICRO))}"
    parts = f": {money(spent.priced)} priced by the server, {money(spent.reported)} as reported" if spent.cost else ""
    rest = f"; {spent.unpriced:,} tokens have no known price and come on top" if spent.unpriced else ""
    return f"{money(spent.cost)}{of}{parts}{rest}"


def count(number: int) -> str:
    """`950`, `12,400`, `1.2 M`."""
    return f"{number:,}" if abs(number) < _MICRO else f"{number / _MICRO:,.1f} M"


def plain(text: str) -> str:
    """A sentence where nothing can be set as code: in a title, a subject, a form."""
    return _CODE.sub(r"\1", text)


def pieces(text: str) -> list[tuple[str, bool]]:
    """A sentence in its parts; true: this one is code."""
    found = _CODE.split(text)
    return [(part, place % 2 == 1) for place, part in enumerate(found) if part]


# Evidence


class Fact(NamedTuple):
    """One thing that a finding stands on; `text` may hold code in backticks, `at` is set where it is a time."""

    name: str
    label: str
    text: str
    at: datetime | None = None
    place: str = OPEN


class Explained(NamedTuple):
    """A finding's evidence for people: beside its reason, behind a disclosure, as texts; and what to set if it may be
    so, of the rule of this KIND."""

    shown: list[Fact]
    details: list[Fact]
    texts: list[Fact]
    setting: Setting | None
    rule: str

    @property
    def all(self) -> list[Fact]:
        return [*self.shown, *self.texts, *self.details]


def explained(kind: str, evidence: Mapping[str, Any], zone: tzinfo) -> Explained:
    """What a signal of this kind stands on, in the words of the rule that found it."""
    rule = rules.rule_for(kind, evidence)
    found = facts(evidence, rules.words(rule), zone)
    shown, details, texts = ([one for one in found if one.place == place] for place in (OPEN, DETAIL, TEXT))
    return Explained(shown, details, texts, rules.allow(rule, evidence), rule.KIND if rule else "")


def facts(evidence: Mapping[str, Any], words: EvidenceLabels, zone: tzinfo) -> list[Fact]:
    """Evidence in the order of the words, and what has none after it; what is empty is left out."""
    names = [*(name for name in words if name in evidence), *(name for name in evidence if name not in words)]
    found = [_fact(name, evidence[name], words.get(name), zone) for name in names if name not in ("runner", "budgets")]
    seen = evidence.get("runner") or {}
    place = words["runner"].place if "runner" in words else OPEN
    found += [_fact(name, value, EvidenceLabel(label(name), place), zone) for name, value in seen.items()]
    return [fact for fact in found if fact.place != NOWHERE and (fact.text or fact.at)]


def _fact(name: str, value: Any, word: EvidenceLabel | None, zone: tzinfo) -> Fact:
    word = word or EvidenceLabel(label(name))
    at = _moment(value) if name.endswith("_at") or name in _TIMES else None
    return Fact(name, word.label, exact(at, zone) if at else _said(name, value, word), at, word.place)


def label(name: str) -> str:
    """A name that has no words, as people read it: `last_heartbeat_at` is `Last heartbeat`."""
    plain_name = name.removesuffix("_at").removesuffix("_usd").replace("_", " ")
    # Names like NRestarts are known as they are.
    return plain_name.capitalize() if plain_name.islower() else plain_name


def _said(name: str, value: Any, word: EvidenceLabel) -> str:
    """One value; without words its name tells whether it is money (`_usd`) or seconds (`_gap`)."""
    if value in (None, "", [], {}):
        return ""
    if word.values and not isinstance(value, list):
        return word.values.get(value, str(value))
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, list):
        return ", ".join(_named(str(part), word) for part in value)
    if not isinstance(value, int | float):
        return _named(str(value), word)
    return _number(name, value, word) if value or word.place == OPEN else ""


def _named(text: str, word: EvidenceLabel) -> str:
    return f"`{text}`" if word.is_code else text


def _number(name: str, value: float, word: EvidenceLabel) -> str:
    if name.endswith("_usd"):
        return money(round(value * _MICRO))
    if word.unit == SECONDS or name in _DURATIONS or name.endswith("_gap"):
        return short(value)
    return f"{value:,} {word.unit}".strip()


def _moment(value: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else None
