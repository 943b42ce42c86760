"""Deadlines, money and evidence as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agents import wording

NOW = datetime(2026, 11, 23, 20, 25, 57, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.34, "340 ms"), (2.46, "2.5 s"), (34, "34 s"), (120, "2 min"), (-1, "0 ms")]
)
def test_short_durations_are_said_more_exactly(seconds: float, text: str) -> None:
    assert wording.short(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(34, "due in 34 s"), (0, "due in 0 s"), (-720, "12 min overdue")])
def test_deadlines(seconds: float, text: str) -> None:
    assert wording.due(NOW + timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("micros", "text"),
    [(0, "$0.00"), (3_100_000, "$3.10"), (1_234_500_000, "$1,234.50"), (10_000, "$0.01"), (120, "$0.00012")],
)
def test_money(micros: int, text: str) -> None:
    assert wording.money(micros) == text


@pytest.mark.parametrize(("number", "text"), [(950, "950"), (12_400, "12,400"), (1_240_000, "1.2 M")])
def test_counts(number: int, text: str) -> None:
    assert wording.count(number) == text


def test_evidence_is_said_by_its_names() -> None:
    facts = {
        "last_heartbeat_at": NOW.isoformat(),
        "deadline": "soon",
        "interval": 90,
        "usual_gap": 40.2,
        "spent_usd": 4.25,
        "count": 1_220,
        "same_result": True,
        "args": "",
        "traceback": None,
    }
    assert wording.rows(facts, UTC) == [
        ("Last heartbeat", "23 Nov 2026, 20:25:57 UTC"),
        ("Deadline", "soon"),
        ("Interval", "1 min"),
        ("Usual gap", "40 s"),
        ("Spent", "$4.25"),
        ("Count", "1,220"),
        ("Same result", "yes"),
    ]


def test_lists_in_evidence_are_said_as_such() -> None:
    assert wording.rows({"tools": ["search", "edit"], "lap_gap": 8.0}, UTC) == [
        ("Tools", "search, edit"),
        ("Lap gap", "8 s"),
    ]
