from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerts.coverage import group_by_coverage
from alerts.routing import Subscriber, describe_route, explain_mismatch, is_notified, send_at

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NEW = Subscriber(1)
NOTIFIED = Subscriber(1, was_notified=True)
WEBHOOK = Subscriber(1, sends_acknowledgements=True)
NOTIFIED_WEBHOOK = Subscriber(1, sends_acknowledgements=True, was_notified=True)
MISSED_RECOVERY = Subscriber(1, was_notified=True, missed_recovery=True)


@pytest.mark.parametrize(
    ("event", "subscriber", "expected"),
    [
        ("opened", NEW, True),
        ("updated", NEW, True),
        ("updated", NOTIFIED, True),
        ("reopened", NEW, True),
        ("reopened", NOTIFIED, True),
        ("reopened", MISSED_RECOVERY, False),
        ("acknowledged", NEW, False),
        ("acknowledged", NOTIFIED, False),
        ("acknowledged", WEBHOOK, False),
        ("acknowledged", NOTIFIED_WEBHOOK, True),
        ("resolved", NEW, False),
        ("resolved", WEBHOOK, False),
        ("resolved", NOTIFIED, True),
        ("resolved", MISSED_RECOVERY, True),
        ("command", NOTIFIED_WEBHOOK, False),
        ("note", NOTIFIED_WEBHOOK, False),
    ],
)
def test_events_notify_the_right_subscribers(event: str, subscriber: Subscriber, expected: bool) -> None:
    assert is_notified(event, subscriber, "warning", [{}]) is expected


CRITICAL_ONLY = {"severity": "critical"}
PRODUCTION = {"labels": {"env": "prod", "team": "a"}}


@pytest.mark.parametrize(
    ("route", "severity", "agents", "expected"),
    [
        ({}, "warning", [{}], True),
        (CRITICAL_ONLY, "warning", [{}], False),
        (CRITICAL_ONLY, "critical", [{}], True),
        (PRODUCTION, "critical", [{}], False),
        (PRODUCTION, "critical", [{"env": "prod"}], False),
        (PRODUCTION, "critical", [{"env": "prod", "team": "a", "x": "y"}], True),
        (PRODUCTION, "critical", [{"env": "test"}, {"env": "prod", "team": "a"}], True),  # a group of agents
        (CRITICAL_ONLY | PRODUCTION, "warning", [{"env": "prod", "team": "a"}], False),
    ],
)
@pytest.mark.parametrize("event", ["opened", "updated", "reopened"])
def test_route_filters_by_severity_and_labels(
    event: str, route: dict[str, Any], severity: str, agents: list[dict[str, str]], expected: bool
) -> None:
    assert is_notified(event, Subscriber(1, **route), severity, agents) is expected
    notified = Subscriber(1, was_notified=True, **route)
    assert is_notified(event, notified, severity, agents), "a notified channel receives updates"
    assert is_notified("resolved", notified, severity, agents)


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
def test_recovery_of_a_flapping_incident_is_delayed(event: str, reopened: int, minutes: int) -> None:
    assert send_at(event, reopened, NOW) == NOW + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("route", "severity", "labels", "why"),
    [
        ({}, "warning", {}, ""),
        (CRITICAL_ONLY, "warning", {}, "receives only critical alerts"),
        (
            CRITICAL_ONLY | PRODUCTION,
            "critical",
            {"env": "prod"},
            "receives only alerts for agents with env=prod and team=a",
        ),
        (PRODUCTION, "warning", {"env": "prod", "team": "a"}, ""),
    ],
)
def test_mismatch_is_explained(route: dict[str, Any], severity: str, labels: dict[str, str], why: str) -> None:
    subscriber = Subscriber(1, **route)
    assert explain_mismatch(subscriber, severity, labels) == why
    assert is_notified("opened", subscriber, severity, [labels]) is (why == "")


def test_route_is_described() -> None:
    assert describe_route("warning", {}) == "all alerts for all agents"
    assert describe_route("critical", {"env": "prod"}) == "only critical alerts for agents with env=prod"


def test_agents_are_grouped_by_coverage() -> None:
    pager, chat = Subscriber(1, severity="critical", labels={"env": "prod"}), Subscriber(2, labels={"env": "prod"})
    agents = [("a", {"env": "prod", "x": "1"}), ("b", {"env": "prod", "x": "2"}), ("c", {}), ("d", {"env": "test"})]
    gap, covered = group_by_coverage([pager, chat], agents)
    assert (gap.agents, gap.includes_new_agents, gap.uncovered) == (["c", "d"], True, ["critical", "warning"])
    assert (covered.agents, covered.includes_new_agents, covered.uncovered) == (["a", "b"], False, [])
    assert covered.common == {"env": "prod"}
    assert covered.channels == {"critical": (1, 2), "warning": (2,)}


def test_without_channels_nothing_is_covered() -> None:
    [group] = group_by_coverage([], [("a", {"env": "prod"})])
    assert group.includes_new_agents
    assert group.uncovered == ["critical", "warning"]
