"""Restart decisions as tables of cases: budget, delays and refusals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.domain.restart_policy import (
    PERSON,
    RUNNER,
    WATCHDOG,
    RestartContext,
    caution,
    cures,
    delayed_until,
    has_failed,
    may_restart,
)

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
MIN = 60.0


def before(*minutes: float) -> list[datetime]:
    """Times this many minutes ago."""
    return [NOW - timedelta(minutes=one) for one in minutes]


def after(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def code(origin: str = WATCHDOG, **facts: Any) -> str:
    return may_restart(RestartContext(facts.pop("policy", "auto"), origin, NOW, **facts)).code


@pytest.mark.parametrize(
    ("policy", "person", "runner", "watchdog"),
    [
        ("off", "restart_off", "restart_off", "restart_off"),
        ("manual", "", "", "restart_manual"),
        ("auto", "", "", ""),
    ],
)
def test_policy_decides_who_may_restart(policy: str, person: str, runner: str, watchdog: str) -> None:
    found = [code(origin, policy=policy) for origin in (PERSON, RUNNER, WATCHDOG)]
    assert found == [person, runner, watchdog]


@pytest.mark.parametrize(
    ("ago", "at"),
    [
        ([], None),
        ([0.5], 0.5),  # one minute after the first
        ([1], None),
        ([9, 4], 1),  # five after the second
        ([9, 5], None),
        ([30, 20, 10], 5),  # fifteen after the third
        ([61], None),  # an hour later it starts over
        ([61, 0.5], 0.5),
    ],
)
def test_delays_between_restarts(ago: list[float], at: float | None) -> None:
    assert delayed_until(before(*ago), NOW) == (None if at is None else after(at))


@pytest.mark.parametrize("origin", [RUNNER, WATCHDOG])
def test_automatic_restarts_wait(origin: str) -> None:
    verdict = may_restart(RestartContext("auto", origin, NOW, attempts=before(9, 4)))
    assert (verdict.allowed, verdict.code, verdict.at) == (False, "restart_delay", after(1))


def test_people_skip_the_delay() -> None:
    assert may_restart(RestartContext("manual", PERSON, NOW, attempts=before(0.1))).allowed


@pytest.mark.parametrize(
    ("ago", "at"),
    [
        ([50, 20], None),
        ([50, 20, 10], 10),  # three within the hour
        ([61, 20, 10], None),
        ([1430 - 70 * n for n in range(10)], 10),  # ten within the day
        ([1441 - 70 * n for n in range(10)], None),
    ],
)
def test_budget_applies_to_people(ago: list[float], at: float | None) -> None:
    verdict = may_restart(RestartContext("manual", PERSON, NOW, attempts=before(*ago)))
    assert (verdict.code, verdict.at) == (("", None) if at is None else ("restart_budget", after(at)))


@pytest.mark.parametrize("origin", [RUNNER, WATCHDOG])
@pytest.mark.parametrize(
    ("ago", "said"),
    [
        ([50, 40, 16], "gave_up"),
        ([50, 40, 14], "restart_delay"),  # the last restart still has time to succeed
        ([50, 16], ""),
        ([1430 - 70 * n for n in range(10)], "gave_up"),
    ],
)
def test_gives_up_after_the_budget(origin: str, ago: list[float], said: str) -> None:
    assert code(origin, attempts=before(*ago)) == said
    assert has_failed(before(*ago), NOW) == (said == "gave_up")


def test_clock_set_back_does_not_block_forever() -> None:
    assert delayed_until([after(600)], NOW) == after(1)
    assert may_restart(RestartContext("auto", RUNNER, NOW, attempts=[after(600), after(700), after(800)])).at == after(
        15
    )


def test_slow_agents_get_more_time() -> None:
    slow = RestartContext("auto", WATCHDOG, NOW, attempts=before(2), patience=10 * MIN)
    assert may_restart(slow).at == after(8)


@pytest.mark.parametrize("origin", [RUNNER, WATCHDOG])
@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"held": True}, "held"),
        ({"paused": True}, "paused"),
        ({"unsafe": True}, "unsafe_to_repeat"),
        ({"together": True}, "together"),
        ({"kinds": {"crash", "loop"}}, "needs_a_person"),
        ({"kinds": {"cost"}}, "needs_a_person"),
        ({"kinds": {"stalled", "restart_failed"}}, "gave_up"),
        ({"kinds": {"stalled"}}, ""),
        ({"waiting_until": after(1)}, "waiting"),
        ({"waiting_until": after(-1)}, ""),
        ({"blind_until": after(-1)}, ""),
    ],
)
def test_refusal_reasons(origin: str, facts: dict[str, Any], said: str) -> None:
    assert code(origin, **facts) == said
    assert code(PERSON, **facts) == ""


def test_quiet_host_blocks_only_the_watchdog() -> None:
    assert code(WATCHDOG, source_quiet=True) == "source_quiet"
    assert code(RUNNER, source_quiet=True) == ""
    assert code(PERSON, source_quiet=True) == ""


def test_outage_blocks_only_the_watchdog() -> None:
    assert code(WATCHDOG, blind_until=after(1)) == "outage"
    assert code(RUNNER, blind_until=after(1)) == ""


def test_signals_a_restart_can_fix() -> None:
    kinds = {"missed_heartbeat", "stalled", "crash", "error", "loop", "cost", "memory"}
    assert cures(kinds, runner_down=False) == {"missed_heartbeat", "stalled", "crash"}
    assert "error" in cures(kinds, runner_down=True)


def test_every_refusal_has_a_reason() -> None:
    for facts in ({"held": True}, {"attempts": before(1, 2, 3)}, {"kinds": {"loop"}}):
        assert len(may_restart(RestartContext("auto", RUNNER, NOW, **facts)).reason) > 20


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, ""),
        ({"paused": True}, "paused"),
        ({"held": True}, "held"),
        ({"unsafe": True}, "unsafe_to_repeat"),
        ({"kinds": {"loop"}}, "needs_a_person"),
        ({"together": True}, "together"),
        ({"waiting_until": after(5)}, "waiting"),
        ({"attempts": before(0.5)}, "restart_delay"),
        ({"kinds": {"restart_failed"}}, "gave_up"),
    ],
)
def test_people_see_what_blocks_automatic_restarts(facts: dict[str, Any], said: str) -> None:
    case = RestartContext("manual", PERSON, NOW, **facts)
    found = caution(case)
    assert (found.code if found else "") == said
    assert may_restart(case).allowed
