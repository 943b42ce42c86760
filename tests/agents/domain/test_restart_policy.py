"""Whether an agent may be restarted, as tables: budget, delays, and what speaks against it."""

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
    """So many minutes ago."""
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
def test_the_policy_arms_it(policy: str, person: str, runner: str, watchdog: str) -> None:
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
        ([61], None),  # an hour later it begins anew
        ([61, 0.5], 0.5),
    ],
)
def test_delays_between_restarts(ago: list[float], at: float | None) -> None:
    assert delayed_until(before(*ago), NOW) == (None if at is None else after(at))


@pytest.mark.parametrize("origin", [RUNNER, WATCHDOG])
def test_what_nobody_asked_for_waits_its_time(origin: str) -> None:
    verdict = may_restart(RestartContext("auto", origin, NOW, attempts=before(9, 4)))
    assert (verdict.allowed, verdict.code, verdict.at) == (False, "restart_delay", after(1))


def test_a_person_waits_for_no_delay() -> None:
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
def test_the_budget_binds_a_person_too(ago: list[float], at: float | None) -> None:
    verdict = may_restart(RestartContext("manual", PERSON, NOW, attempts=before(*ago)))
    assert (verdict.code, verdict.at) == (("", None) if at is None else ("restart_budget", after(at)))


@pytest.mark.parametrize("origin", [RUNNER, WATCHDOG])
@pytest.mark.parametrize(
    ("ago", "said"),
    [
        ([50, 40, 16], "gave_up"),
        ([50, 40, 14], "restart_delay"),  # the last one still has its time
        ([50, 16], ""),
        ([1430 - 70 * n for n in range(10)], "gave_up"),
    ],
)
def test_then_it_is_given_up(origin: str, ago: list[float], said: str) -> None:
    assert code(origin, attempts=before(*ago)) == said
    assert has_failed(before(*ago), NOW) == (said == "gave_up")


def test_a_clock_that_was_set_back_makes_no_endless_wait() -> None:
    assert delayed_until([after(600)], NOW) == after(1)
    assert may_restart(RestartContext("auto", RUNNER, NOW, attempts=[after(600), after(700), after(800)])).at == after(
        15
    )


def test_a_slow_agent_gets_its_time_to_prove_itself() -> None:
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
def test_what_speaks_against_it(origin: str, facts: dict[str, Any], said: str) -> None:
    assert code(origin, **facts) == said
    assert code(PERSON, **facts) == ""


def test_a_quiet_host_is_asked_first_unless_its_runner_asks_itself() -> None:
    assert code(WATCHDOG, source_quiet=True) == "source_quiet"
    assert code(RUNNER, source_quiet=True) == ""
    assert code(PERSON, source_quiet=True) == ""


def test_our_own_outage_blinds_us_and_not_the_runner() -> None:
    assert code(WATCHDOG, blind_until=after(1)) == "outage"
    assert code(RUNNER, blind_until=after(1)) == ""


def test_what_a_restart_cures() -> None:
    kinds = {"missed_heartbeat", "stalled", "crash", "error", "loop", "cost", "memory"}
    assert cures(kinds, runner_down=False) == {"missed_heartbeat", "stalled", "crash"}
    assert "error" in cures(kinds, runner_down=True)


def test_every_refusal_says_what_to_do() -> None:
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
def test_a_person_is_told_what_would_keep_anything_automatic_from_it(facts: dict[str, Any], said: str) -> None:
    case = RestartContext("manual", PERSON, NOW, **facts)
    found = caution(case)
    assert (found.code if found else "") == said
    assert may_restart(case).allowed
