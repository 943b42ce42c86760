"""Giving up after the restart limit. The stories with a runner are in `tests/agents/commands/`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.rules import restart_failed
from agents.rules.facts import Finding, Restarts
from tests.agents.rules.conftest import quiet_facts

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
DELAYS = (60.0, 300.0, 900.0)
GIVEN_UP = Finding(kind="restart_failed", severity="critical", reason="Gave up", started_at=NOW, evidence={})


def judged(minutes_ago: list[float], **fields: Any) -> Finding | None:
    made = [NOW - timedelta(minutes=minutes) for minutes in minutes_ago]
    restarts = Restarts(**{"made": made, "delays": DELAYS, "needed_for": {"stalled"}, **fields})
    return restart_failed.check(quiet_facts(NOW, restarts=restarts))


def test_gives_up_after_three_restarts_within_an_hour() -> None:
    finding = judged([50, 40, 20])
    assert finding is not None
    assert (finding.severity, finding.reason) == ("critical", "Gave up: 3 restarts within 50 minutes did not help")
    assert finding.evidence["restarts"] == 3


@pytest.mark.parametrize(
    ("minutes_ago", "fields"),
    [
        ([50, 40], {}),
        ([50, 40, 5], {}),  # the last one still has time to succeed
        ([50, 40, 20], {"needed_for": ()}),
    ],
)
def test_does_not_give_up_too_early(minutes_ago: list[float], fields: dict[str, Any]) -> None:
    assert judged(minutes_ago, **fields) is None


def test_stays_given_up_while_the_problem_lasts() -> None:
    assert judged([200], given_up=GIVEN_UP) is GIVEN_UP
