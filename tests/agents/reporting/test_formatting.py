"""Deadlines, money and evidence as text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents import rules
from agents.reporting import formatting
from agents.rules import cost

NOW = datetime(2026, 11, 23, 20, 25, 57, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.34, "340 ms"), (2.46, "2.5 s"), (34, "34 s"), (120, "2 min"), (-1, "0 ms")]
)
def test_short_durations(seconds: float, text: str) -> None:
    assert formatting.short(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(34, "due in 34 s"), (0, "due in 0 s"), (-720, "12 min overdue")])
def test_deadlines(seconds: float, text: str) -> None:
    assert formatting.due(NOW + timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("micros", "text"),
    [(0, "$0.00"), (3_100_000, "$3.10"), (1_234_500_000, "$1,234.50"), (10_000, "$0.01"), (120, "$0.00012")],
)
def test_money(micros: int, text: str) -> None:
    assert formatting.money(micros) == text


@pytest.mark.parametrize(("number", "text"), [(950, "950"), (12_400, "12,400"), (1_240_000, "1.2 M")])
def test_counts(number: int, text: str) -> None:
    assert formatting.count(number) == text


def labelled(facts: Sequence[formatting.Fact]) -> list[tuple[str, str]]:
    return [(fact.label, fact.text) for fact in facts]


def test_unlabelled_evidence_uses_its_names() -> None:
    facts = {
        "last_heartbeat_at": NOW.isoformat(),
        "deadline": "soon",
        "interval": 90,
        "usual_gap": 40.2,
        "spent_usd": 4.25,
        "count": 1_220,
        "same_result": True,
        "tools": ["search", "edit"],
        "args": "",
        "traceback": None,
        "runner": {"NRestarts": 3, "Result": "watchdog", "OOMKilled": False},
    }
    assert labelled(formatting.facts(facts, {}, UTC)) == [
        ("Last heartbeat", "23 Nov 2026, 20:25:57 UTC"),
        ("Deadline", "soon"),
        ("Interval", "1 min"),
        ("Usual gap", "40 s"),
        ("Spent", "$4.25"),
        ("Count", "1,220"),
        ("Same result", "yes"),
        ("Tools", "search, edit"),
        ("NRestarts", "3"),
        ("Result", "watchdog"),
    ]


LOOP = {
    "pattern": "cycle", "tools": ["search_docs"], "args": "query=release notes", "period": 1, "laps": 24, "count": 24,
    "exact": True, "same_result": True, "first_at": NOW.isoformat(), "last_at": NOW.isoformat(), "seconds": 53.3,
    "lap_gap": 2.31, "tokens": 94_070, "cost_usd": 0.20056, "needed": 4, "silence": "…",
}  # fmt: skip
DAY = {
    "budget": "day", "period": "2026-11-23", "budget_usd": 2.0, "spent_usd": 2.1375, "priced_usd": 2.1375,
    "reported_usd": 0.0, "unpriced_tokens": 0, "unpriced_models": [], "last_hour_usd": 2.1375, "usual_hour_usd": None,
    "reached_at": None, "ends_at": NOW.isoformat(), "budgets": [["day", "2026-11-23", 2_000_000, "critical"]],
}  # fmt: skip
STALL = {
    "last_progress_at": NOW.isoformat(), "usual_gap": 2.4, "longest_gap": None, "timeout": 300.0,
    "deadline": NOW.isoformat(), "last_call": "fetch_page", "last_call_at": NOW.isoformat(),
    "runner": {"Result": "watchdog"},
}  # fmt: skip
EXACT = "23 Nov 2026, 20:25:57 UTC"


@pytest.mark.parametrize(
    ("kind", "evidence", "shown", "details"),
    [
        (
            "loop", LOOP,
            [("Last call", EXACT), ("Interval", "2.3 s"), ("Results", "the same each time"),
             ("Tokens", "94,070 tokens"), ("Cost", "$0.20")],
            {"What repeats": "the same call or sequence of calls", "Tools": "`search_docs`", "Arguments": "identical",
             "Calls per repetition": "1", "Repeated": "24 times", "Calls counted": "24", "Alert threshold": "4 times",
             "First call": EXACT, "Duration": "53 s"},
        ),
        ("loop", {"pattern": "call_rate", "tool": "get", "count": 12, "allowed": 10, "first_at": NOW.isoformat()}, [],
         {"First call": EXACT}),
        ("loop", {"pattern": "repeated_message", "message": "hm", "count": 5, "first_at": NOW.isoformat(),
                  "last_at": NOW.isoformat()}, [("First time", EXACT), ("Last time", EXACT)], {}),
        ("loop", {"pattern": "repeated_prompts", "prompt": "ab12", "count": 5, "of": 5, "at": NOW.isoformat()}, [],
         {"Prompt hash": "`ab12`", "Last time": EXACT}),
        (
            "cost", DAY, [("Last hour", "$2.14"), ("Budget resets", EXACT)],
            {"Budget type": "per day", "Period": "2026-11-23", "Budget": "$2.00", "Spent in the period": "$2.14",
             "Priced by the server": "$2.14"},
        ),
        ("cost", {"pattern": "token_spike", "tokens": 9_000, "usual": 100, "factor": 3.0}, [],
         {"Alert threshold": "3.0 times the average"}),
        (
            "stalled", STALL,
            [("Last progress", EXACT), ("Typical progress every", "2.4 s"), ("Progress timeout", "5 min"),
             ("Last tool call", "`fetch_page`"), ("Call started", EXACT)],
            {"Stalled since": EXACT, "Result": "watchdog"},
        ),
        ("missed_heartbeat", {"last_heartbeat_at": NOW.isoformat(), "interval": 30.0, "deadline": NOW.isoformat()},
         [("Last heartbeat", EXACT)], {"Expected every": "30 s", "Down since": EXACT}),
        ("error", {"message": "boom", "by_runner": True}, [],
         {"Reported by": "the runner: its target is not running"}),
        ("error", {"errors": 12, "heartbeats": 40, "last_error": "no page"}, [("Last error", "no page")], {}),
        ("restart_failed", {"restarts": 3, "first_at": NOW.isoformat(), "last_at": NOW.isoformat()},
         [("First restart", EXACT), ("Last restart", EXACT)], {}),
        ("memory", {"memory_mb": 3100.5, "mb_an_hour": 120.0, "grows_since_at": NOW.isoformat()},
         [("Growing since", EXACT)], {"Memory used": "3,100.5 MB", "Growth per hour": "120.0 MB"}),
    ],
)  # fmt: skip
def test_every_rule_labels_its_evidence(
    kind: str, evidence: dict[str, Any], shown: list[tuple[str, str]], details: dict[str, str]
) -> None:
    explanation = formatting.explained(kind, evidence, UTC)
    assert explanation.rule
    assert (labelled(explanation.shown), dict(labelled(explanation.details))) == (shown, details)


@pytest.mark.parametrize(
    ("kind", "evidence", "text"),
    [
        ("loop", {"args": "query=release notes", "tools": ["search_docs"]}, "query=release notes"),
        ("crash", {"message": "KeyError: 'x'", "traceback": "Traceback\n  File\nKeyError: 'x'"},
         "Traceback\n  File\nKeyError: 'x'"),
    ],
)  # fmt: skip
def test_copyable_text_is_separate(kind: str, evidence: dict[str, Any], text: str) -> None:
    assert [fact.text for fact in formatting.explained(kind, evidence, UTC).texts] == [text]


@pytest.mark.parametrize(
    ("kind", "evidence", "threshold", "words"),
    [
        ("loop", LOOP, "poller:TOOL", "Mark `search_docs` as a polling tool"),
        ("loop", {**LOOP, "pattern": "polling"}, "budget:TOOL", "`search_docs` a limit of its own, for example 48"),
        ("loop", {**LOOP, "pattern": "words", "tools": []}, "repeats", "Raise `repeats`, for example to 48"),
        ("cost", DAY, "daily_budget_usd", "Raise the budget, or resolve to ignore it for today."),
        ("cost", {**DAY, "budget": "month"}, "monthly_budget_usd", "the project's budget"),
        ("stalled", STALL, "progress_timeout", "Increase the progress timeout"),
        ("memory", {"limit_mb": 4_000}, "limit_mb", "Raise the memory limit"),
        ("error", {"errors": 12, "heartbeats": 40, "last_error": "no page"}, "errors", "how many errors should alert"),
        ("crash", {"message": "x", "traceback": ""}, None, ""),
    ],
)
def test_setting_for_expected_behavior(kind: str, evidence: dict[str, Any], threshold: str | None, words: str) -> None:
    setting = formatting.explained(kind, evidence, UTC).setting
    assert (setting.threshold if setting else None) == threshold
    assert words in (setting.text if setting else "")


@pytest.mark.parametrize("rule", rules.every().values(), ids=lambda rule: rule.KIND)
def test_setting_is_a_known_threshold(rule: rules.Rule) -> None:
    known = {one.name for one in rule.THRESHOLDS} | {""}
    loops = [LOOP, {**LOOP, "pattern": "polling"}, {**LOOP, "tools": []}]
    budgets: list[dict[str, Any]] = [{"budget": one} for one in cost.BUDGET_NAMES]
    for evidence in (*loops, *budgets):
        setting = rules.allow(rule, evidence)
        assert setting is None or setting.of_project or setting.threshold in known


@pytest.mark.parametrize(
    ("text", "plain", "pieces"),
    [
        ("`a(b)` called twice; last: `c`", "a(b) called twice; last: c",
         [("a(b)", True), (" called twice; last: ", False), ("c", True)]),
        ("one ` alone", "one ` alone", [("one ` alone", False)]),
        ("", "", []),
    ],
)  # fmt: skip
def test_code_in_sentences(text: str, plain: str, pieces: list[tuple[str, bool]]) -> None:
    assert (formatting.plain(text), formatting.pieces(text)) == (plain, pieces)
