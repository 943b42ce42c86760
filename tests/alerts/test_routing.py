from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerts.coverage import audiences
from alerts.routing import Listener, in_words, is_told, not_before, why_not

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
FRESH = Listener(1)
KNOWING = Listener(1, knows=True)
CURIOUS = Listener(1, wants_acknowledged=True)
CURIOUS_KNOWING = Listener(1, wants_acknowledged=True, knows=True)
UNAWARE = Listener(1, knows=True, unaware=True)


@pytest.mark.parametrize(
    ("event", "listener", "told"),
    [
        ("opened", FRESH, True),
        ("updated", FRESH, True),
        ("updated", KNOWING, True),
        ("reopened", FRESH, True),
        ("reopened", KNOWING, True),
        ("reopened", UNAWARE, False),
        ("acknowledged", FRESH, False),
        ("acknowledged", KNOWING, False),
        ("acknowledged", CURIOUS, False),
        ("acknowledged", CURIOUS_KNOWING, True),
        ("resolved", FRESH, False),
        ("resolved", CURIOUS, False),
        ("resolved", KNOWING, True),
        ("resolved", UNAWARE, True),
        ("command", CURIOUS_KNOWING, False),
        ("note", CURIOUS_KNOWING, False),
    ],
)
def test_who_is_told_what(event: str, listener: Listener, told: bool) -> None:
    assert is_told(event, listener, "warning", [{}]) is told


CRITICAL_ONLY = {"severity": "critical"}
PRODUCTION = {"labels": {"env": "prod", "team": "a"}}


@pytest.mark.parametrize(
    ("route", "severity", "agents", "told"),
    [
        ({}, "warning", [{}], True),
        (CRITICAL_ONLY, "warning", [{}], False),
        (CRITICAL_ONLY, "critical", [{}], True),
        (PRODUCTION, "critical", [{}], False),
        (PRODUCTION, "critical", [{"env": "prod"}], False),
        (PRODUCTION, "critical", [{"env": "prod", "team": "a", "x": "y"}], True),
        (PRODUCTION, "critical", [{"env": "test"}, {"env": "prod", "team": "a"}], True),  # many fell silent together
        (CRITICAL_ONLY | PRODUCTION, "warning", [{"env": "prod", "team": "a"}], False),
    ],
)
@pytest.mark.parametrize("event", ["opened", "updated", "reopened"])
def test_a_route_takes_severity_and_labels(
    event: str, route: dict[str, Any], severity: str, agents: list[dict[str, str]], told: bool
) -> None:
    assert is_told(event, Listener(1, **route), severity, agents) is told
    knowing = Listener(1, knows=True, **route)
    assert is_told(event, knowing, severity, agents), "who was told hears how it goes on"
    assert is_told("resolved", knowing, severity, agents)


@pytest.mark.parametrize(
    ("event", "reopened", "minutes"),
    [
        ("opened", 0, 0),
        ("updated", 3, 0),
        ("reopened", 1, 0),
        ("resolved", 0, 0),
        ("resolved", 1, 5),
        ("resolved", 4, 5),
    ],
)
def test_the_recovery_of_what_came_back_before_waits(event: str, reopened: int, minutes: int) -> None:
    assert not_before(event, reopened, NOW) == NOW + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("route", "severity", "labels", "why"),
    [
        ({}, "warning", {}, ""),
        (CRITICAL_ONLY, "warning", {}, "hears only what is critical"),
        (CRITICAL_ONLY | PRODUCTION, "critical", {"env": "prod"}, "hears only of agents with env=prod and team=a"),
        (PRODUCTION, "warning", {"env": "prod", "team": "a"}, ""),
    ],
)
def test_why_somebody_is_not_told(route: dict[str, Any], severity: str, labels: dict[str, str], why: str) -> None:
    listener = Listener(1, **route)
    assert why_not(listener, severity, labels) == why
    assert is_told("opened", listener, severity, [labels]) is (why == "")


def test_a_route_in_words() -> None:
    assert in_words("warning", {}) == "everything, of all agents"
    assert in_words("critical", {"env": "prod"}) == "only what is critical, of agents with env=prod"


def test_agents_are_told_apart_by_who_hears_of_them() -> None:
    pager, chat = Listener(1, severity="critical", labels={"env": "prod"}), Listener(2, labels={"env": "prod"})
    agents = [("a", {"env": "prod", "x": "1"}), ("b", {"env": "prod", "x": "2"}), ("c", {}), ("d", {"env": "test"})]
    gap, heard = audiences([pager, chat], agents)
    assert (gap.agents, gap.newcomers, gap.unheard) == (["c", "d"], True, ["critical", "warning"])
    assert (heard.agents, heard.newcomers, heard.unheard) == (["a", "b"], False, [])
    assert heard.common == {"env": "prod"}
    assert heard.channels == {"critical": (1, 2), "warning": (2,)}


def test_without_channels_nobody_hears_of_anything() -> None:
    [everybody] = audiences([], [("a", {"env": "prod"})])
    assert everybody.newcomers
    assert everybody.unheard == ["critical", "warning"]
