"""Policies at work: who is notified of an incident as time passes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from agents.incidents import actions, events, snoozes
from agents.models import Agent, Incident, IncidentEvent
from alerts import escalations, outbox, policy_changes, wakeup
from alerts.models import Channel, Delivery, Escalation
from teams.errors import ApiError
from teams.models import AuditEntry, Project
from tests.alerts.conftest import NOW

pytestmark = pytest.mark.django_db
Happen = Callable[..., IncidentEvent]
LADDER = [
    {
        "name": "Ladder",
        "steps": [
            {"channels": ["Chat"], "repeat": 10, "times": 3},
            {"people": ["ann@example.com"], "after": 15},
            {"people": ["Ben@example.com"], "after": 15},
        ],
    }
]


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeup, "wake", lambda _: None)


@pytest.fixture(autouse=True)
def world(project: Project) -> None:
    Channel.objects.create(project=project, kind="email", name="Chat", config={"to": ["chat@example.com"]})
    people = ["ann@example.com", "ben@example.com", "cy@example.com"]
    Channel.objects.create(project=project, kind="email", name="People", config={"to": people})


@pytest.fixture
def happen(incident: Incident) -> Happen:
    """`happen("opened", minutes)` lets an event of the incident happen."""

    def write(kind: str, minutes: float = 0, **data: Any) -> IncidentEvent:
        incident.refresh_from_db()
        return events.record(incident=incident, kind=kind, text=kind, now=after(minutes), data=data)

    return write


def after(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def adopt(project: Project, rules: list[Any] = LADDER) -> None:
    policy_changes.save(project=project, data=rules, actor="owner@example.com", now=NOW)


def pass_time(until: int, since: int = 0) -> None:
    for minute in range(since, until + 1):
        escalations.sweep(after(minute))


def notified() -> list[tuple[int, str, str]]:
    """When, who and of what, while all channels work."""
    Delivery.objects.filter(state="pending").update(state="sent")
    rows = Delivery.objects.exclude(state="skipped").order_by("pk").select_related("event")
    return [
        (int((row.created_at - NOW).total_seconds() / 60), row.recipient.partition("@")[0], row.event.kind)
        for row in rows
        if row.event
    ]


LADDER_MESSAGES = [
    (0, "chat", "opened"),
    (10, "chat", "reminder"),
    (15, "ann", "escalated"),
    (20, "chat", "reminder"),
    (30, "ben", "escalated"),
]


def test_without_a_policy_routing_decides(project: Project, happen: Happen) -> None:
    happen("opened")
    pass_time(60)
    assert notified() == [(0, "chat", "opened"), (0, "ann", "opened"), (0, "ben", "opened"), (0, "cy", "opened")]
    assert not Escalation.objects.exists()


def test_ladder_is_climbed_until_its_end(project: Project, happen: Happen) -> None:
    adopt(project)
    happen("opened")
    pass_time(60)
    assert notified() == LADDER_MESSAGES
    happen("resolved", 61)
    assert notified()[5:] == [(61, "chat", "resolved"), (61, "ann", "resolved"), (61, "ben", "resolved")]


@pytest.mark.parametrize("end", ["acknowledged", "resolved", "muted"])
def test_whoever_takes_it_ends_the_plan(project: Project, happen: Happen, incident: Incident, end: str) -> None:
    adopt(project)
    happen("opened")
    pass_time(16)
    if end == "acknowledged":
        actions.acknowledge(incident=incident, actor="ann@example.com", now=after(17))
    elif end == "muted":
        actions.mute(incident=incident, actor="ann@example.com", now=after(17))
    else:
        Incident.objects.update(resolved_at=after(17))
        happen("resolved", 17)
    pass_time(90, 17)
    told = [who for _, who, kind in notified() if kind in ("reminder", "escalated")]
    assert told == ["chat", "ann"]
    # Ben was not notified of the failure, so he isn't of the recovery.
    assert {who for _, who, kind in notified() if kind == "resolved"} <= {"chat", "ann"}
    assert Escalation.objects.filter(next_at__isnull=False).count() == 0


def test_snooze_puts_the_plan_off(project: Project, happen: Happen, incident: Incident) -> None:
    adopt(project)
    happen("opened")
    pass_time(11)
    snoozes.snooze(incident=incident, until=after(60), actor="ann@example.com", now=after(12))
    for minute in range(12, 120):
        snoozes.end_due(after(minute))
        escalations.sweep(after(minute))
    assert notified() == [
        (0, "chat", "opened"),
        (10, "chat", "reminder"),
        (60, "chat", "reminder"),  # of the snooze
        (65, "ann", "escalated"),
        (70, "chat", "reminder"),
        (80, "ben", "escalated"),
    ]


def test_late_sweep_sends_each_step_once(project: Project, happen: Happen) -> None:
    """The watchdog was down for an hour."""
    adopt(project)
    happen("opened")
    escalations.sweep(after(60))
    escalations.sweep(after(61))
    assert notified() == [
        (0, "chat", "opened"),
        (60, "ann", "escalated"),
        (60, "chat", "reminder"),
        (60, "ben", "escalated"),
    ]


def test_crash_loses_and_repeats_nothing(project: Project, happen: Happen, monkeypatch: pytest.MonkeyPatch) -> None:
    adopt(project)
    happen("opened")
    stale = Escalation.objects.select_related("incident__project__team", "incident__agent").get()

    def crash(*_: Any) -> None:
        raise OSError("killed")

    with monkeypatch.context() as patched:
        patched.setattr("alerts.escalations.timeline.write", crash)
        with pytest.raises(OSError, match="killed"):
            escalations.sweep(after(10))
    escalations.sweep(after(10))
    escalations._advance(stale, after(10))  # another worker had read the same row
    assert notified() == LADDER_MESSAGES[:2]


def test_rising_severity_starts_the_rule_for_critical(project: Project, happen: Happen) -> None:
    rules = [
        {"name": "Critical", "match": {"severity": "critical"}, "steps": [{"people": ["ann@example.com"]}]},
        {"name": "Rest", "steps": [{"channels": ["chat"]}, {"people": ["cy@example.com"], "after": 30}]},
    ]
    adopt(project, rules)
    Incident.objects.update(severity="warning")
    happen("opened")
    Incident.objects.update(severity="critical")
    happen("updated", 5, signal="stalled", rose=True)
    pass_time(60, 5)
    assert notified() == [(0, "chat", "opened"), (5, "chat", "updated"), (5, "ann", "updated")]


def test_rise_within_a_rule_goes_on(project: Project, happen: Happen) -> None:
    adopt(project)
    Incident.objects.update(severity="warning")
    happen("opened")
    pass_time(15)
    Incident.objects.update(severity="critical")
    happen("updated", 16, signal="stalled", rose=True)
    pass_time(30, 16)
    assert notified()[3:] == [
        (16, "chat", "updated"),
        (16, "ann", "updated"),
        (20, "chat", "reminder"),
        (30, "ben", "escalated"),
    ]


def test_updates_reach_those_who_were_notified(project: Project, happen: Happen) -> None:
    adopt(project)
    happen("opened")
    pass_time(15)
    happen("updated", 16, signal="loop")
    assert notified()[3:] == [(16, "chat", "updated"), (16, "ann", "updated")]


def test_incident_that_comes_back_starts_anew(project: Project, happen: Happen) -> None:
    adopt(project)
    happen("opened")
    pass_time(15)
    Incident.objects.update(resolved_at=after(17))
    happen("resolved", 17)
    notified()
    Incident.objects.update(resolved_at=None)
    happen("reopened", 20)
    pass_time(35, 20)
    assert notified()[5:] == [
        (20, "chat", "reopened"),
        (20, "ann", "reopened"),
        (30, "chat", "reminder"),
        (35, "ann", "escalated"),
    ]


def test_rule_that_names_nobody_left_loses_no_alert(project: Project, happen: Happen) -> None:
    adopt(project)
    Channel.objects.filter(name="Chat").update(name="Renamed")
    happen("opened")
    assert {who for _, who, _ in notified()} == {"chat", "ann", "ben", "cy"}
    assert policy_changes.problems(project, policy_changes.rules_of(project)) == [
        "This project has no channel named “Chat”."
    ]


def test_agents_outside_every_rule_use_routing(project: Project, happen: Happen, agent: Agent) -> None:
    adopt(project, [{**LADDER[0], "match": {"agents": ["another"]}}])
    happen("opened")
    pass_time(60)
    assert [who for _, who, _ in notified()] == ["chat", "ann", "ben", "cy"]


def test_hours_are_those_of_the_project(project: Project, happen: Happen) -> None:
    """20:25 UTC is 5:25 in Tokyo."""
    Project.objects.update(time_zone="Asia/Tokyo")
    early = {"match": {"hours": {"from": "05:00", "to": "06:00"}}, "steps": [{"people": ["cy@example.com"]}]}
    adopt(project, [{"name": "Early", **early}, *LADDER])
    happen("opened")
    assert notified() == [(0, "cy", "opened")]


def test_change_of_the_policy_is_for_later_incidents(project: Project, happen: Happen) -> None:
    adopt(project)
    happen("opened")
    adopt(project, [{"name": "New", "steps": [{"people": ["cy@example.com"], "repeat": 1}]}])
    pass_time(60)
    assert notified() == LADDER_MESSAGES


def test_deleted_policy_escalates_nothing(project: Project, happen: Happen) -> None:
    adopt(project)
    happen("opened")
    adopt(project, [])
    pass_time(60)
    assert notified() == [(0, "chat", "opened")]
    actions_logged = AuditEntry.objects.filter(action__startswith="policy.").order_by("pk")
    assert [entry.action for entry in actions_logged] == ["policy.changed", "policy.deleted"]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"channels": ["Nowhere"]}, "This project has no channel named “Nowhere”."),
        ({"people": ["dora@example.com"]}, "No e-mail channel of this project sends to dora@example.com"),
    ],
)
def test_unknown_targets_are_refused(project: Project, step: dict[str, Any], said: str) -> None:
    with pytest.raises(ApiError, match=said):
        adopt(project, [{"name": "R", "steps": [step]}])
    assert policy_changes.rules_of(project) == ()


def test_policies_cost_queries_by_transaction(
    project: Project, incident: Incident, django_assert_max_num_queries: Any
) -> None:
    adopt(project)
    several = [IncidentEvent(incident=incident, kind="opened", at=NOW, text="x") for _ in range(20)]
    IncidentEvent.objects.bulk_create(several)
    with django_assert_max_num_queries(6):
        outbox.enqueue(*several)
