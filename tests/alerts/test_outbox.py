"""Deliveries are written with their event, to the right channels, and nothing else makes or loses one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from agents.incidents import events
from agents.ingest.registration import create_agent
from agents.models import Agent, Incident, IncidentEvent, Signal
from alerts import outbox
from alerts.models import Channel, Delivery
from teams.models import Project
from tests.alerts.conftest import NOW

Happened = Callable[..., IncidentEvent]
PENDING, SENT, FAILED, SKIPPED = (
    Delivery.State.PENDING,
    Delivery.State.SENT,
    Delivery.State.FAILED,
    Delivery.State.SKIPPED,
)


@pytest.fixture(autouse=True)
def knocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which deliveries a worker was woken for."""
    heard: list[int] = []
    monkeypatch.setattr(outbox, "knock", heard.extend)
    return heard


def told(channel: Channel) -> list[tuple[str, str]]:
    """What a channel was or will be told, oldest first."""
    rows = channel.deliveries.filter(event__isnull=False).order_by("pk").select_related("event")
    return [(row.event.kind, row.state) for row in rows if row.event]


def end(channel: Channel, state: str, **changes: Any) -> None:
    channel.deliveries.filter(state=PENDING).update(state=state, **changes)


def test_an_opened_incident_is_told_to_every_enabled_channel_of_its_project(
    happened: Happened, email: Channel, webhook: Channel, stranger: Any
) -> None:
    off = Channel.objects.create(project=email.project, kind="slack", name="off", config={}, enabled=False)
    theirs = Channel.objects.create(project=stranger.teams.get().projects.get(), kind="email", name="x", config={})
    outbox.enqueue(happened("opened"))
    assert told(email) == told(webhook) == [("opened", PENDING)]
    assert told(off) == told(theirs) == []


def test_event_and_deliveries_share_a_transaction(incident: Incident, email: Channel, knocks: list[int]) -> None:
    with transaction.atomic():
        events.record(incident=incident, kind="opened", text="down", now=NOW)
        assert Delivery.objects.count() == 1
        transaction.set_rollback(True)
    assert Delivery.objects.count() == 0
    assert IncidentEvent.objects.count() == 0
    assert knocks == []


def test_a_worker_is_woken_only_after_the_commit(
    happened: Happened, email: Channel, knocks: list[int], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        outbox.enqueue(happened("opened"))
        assert knocks == []
    assert knocks == [email.deliveries.get().pk]


def test_notes_and_commands_are_told_to_nobody(happened: Happened, webhook: Channel) -> None:
    for kind in ("note", "command"):
        outbox.enqueue(happened(kind))
    assert told(webhook) == []


def test_only_programs_hear_of_acknowledgements(happened: Happened, email: Channel, webhook: Channel) -> None:
    for kind in ("opened", "acknowledged"):
        outbox.enqueue(happened(kind))
    assert told(email) == [("opened", PENDING)]
    assert told(webhook) == [("opened", PENDING), ("acknowledged", PENDING)]


@pytest.mark.parametrize(("failure", "recovery"), [(PENDING, True), (SENT, True), (FAILED, False), (SKIPPED, False)])
def test_recovery_is_told_only_where_the_failure_was_told(
    happened: Happened, email: Channel, failure: str, recovery: bool
) -> None:
    outbox.enqueue(happened("opened"))
    end(email, failure)
    outbox.enqueue(happened("resolved"))
    assert [kind for kind, _ in told(email)] == (["opened", "resolved"] if recovery else ["opened"])


def test_a_channel_added_after_the_failure_does_not_hear_of_the_recovery(
    happened: Happened, email: Channel, project: Project
) -> None:
    outbox.enqueue(happened("opened"))
    late = Channel.objects.create(project=project, kind="email", name="late", config={"to": ["a@example.com"]})
    outbox.enqueue(happened("resolved"))
    assert told(late) == []
    assert len(told(email)) == 2


def test_a_channel_added_after_the_failure_hears_of_a_new_signal_and_then_of_the_recovery(
    happened: Happened, project: Project
) -> None:
    outbox.enqueue(happened("opened"))
    late = Channel.objects.create(project=project, kind="email", name="late", config={"to": ["a@example.com"]})
    for kind in ("updated", "resolved"):
        outbox.enqueue(happened(kind))
    assert [kind for kind, _ in told(late)] == ["updated", "resolved"]


def reopen(incident: Incident) -> None:
    incident.reopened += 1
    incident.save()


def test_the_first_recovery_is_told_at_once(happened: Happened, email: Channel, incident: Incident) -> None:
    outbox.enqueue(happened("opened"))
    outbox.enqueue(happened("resolved"))
    assert email.deliveries.get(event__kind="resolved").next_try_at == NOW


def test_the_recovery_of_what_came_back_waits_and_wakes_nobody(
    happened: Happened, email: Channel, incident: Incident, knocks: list[int], django_capture_on_commit_callbacks: Any
) -> None:
    outbox.enqueue(happened("opened"))
    reopen(incident)
    with django_capture_on_commit_callbacks(execute=True):
        outbox.enqueue(happened("resolved"))
    assert email.deliveries.get(event__kind="resolved").next_try_at == NOW + timedelta(minutes=5)
    assert knocks == []


# state of the recovery's delivery when it comes back; is the reopening told; what becomes of the recovery
FLAPS = [
    ({"state": PENDING}, False, SKIPPED),
    ({"state": PENDING, "attempts": 2}, False, SKIPPED),
    ({"state": PENDING, "attempts": 1, "lease_until": NOW + timedelta(seconds=50)}, True, PENDING),
    ({"state": PENDING, "attempts": 1, "lease_until": NOW - timedelta(seconds=50)}, True, SKIPPED),
    ({"state": SENT, "attempts": 1}, True, SENT),
    ({"state": FAILED, "attempts": 9}, True, FAILED),
]


@pytest.mark.parametrize(("recovery", "reopening_told", "becomes"), FLAPS)
def test_up_and_down_again_pages_nobody_who_never_heard_of_the_up(
    happened: Happened, email: Channel, incident: Incident, recovery: Any, reopening_told: bool, becomes: str
) -> None:
    outbox.enqueue(happened("opened"))
    end(email, SENT)
    outbox.enqueue(happened("resolved"))
    email.deliveries.filter(event__kind="resolved").update(**recovery)
    reopen(incident)
    outbox.enqueue(happened("reopened"))
    expected = [("opened", SENT), ("resolved", becomes)]
    assert told(email) == ([*expected, ("reopened", PENDING)] if reopening_told else expected)


def test_after_ten_flaps_one_failure_and_one_recovery_were_told(
    happened: Happened, email: Channel, incident: Incident
) -> None:
    outbox.enqueue(happened("opened"))
    end(email, SENT)
    for _ in range(10):
        outbox.enqueue(happened("resolved"))
        reopen(incident)
        outbox.enqueue(happened("reopened"))
    outbox.enqueue(happened("resolved"))
    assert [row for row in told(email) if row[1] != SKIPPED] == [("opened", SENT), ("resolved", PENDING)]


def test_a_channel_that_heard_of_the_recovery_hears_of_the_return_while_another_does_not(
    happened: Happened, email: Channel, webhook: Channel, incident: Incident
) -> None:
    for kind in ("opened", "resolved"):
        outbox.enqueue(happened(kind))
    end(email, SENT)
    reopen(incident)
    outbox.enqueue(happened("reopened"))
    assert told(email)[-1] == ("reopened", PENDING)
    assert told(webhook)[-1] == ("resolved", SKIPPED)


def test_the_withdrawn_recovery_of_another_incident_is_left_alone(
    happened: Happened, email: Channel, incident: Incident
) -> None:
    for kind in ("opened", "resolved"):
        outbox.enqueue(happened(kind))
    Incident.objects.filter(pk=incident.pk).update(resolved_at=NOW)
    other = Incident.objects.create(
        project=incident.project, agent=incident.agent, kind="loop", severity="warning", reason="r",
        started_at=NOW, opened_at=NOW,
    )  # fmt: skip
    outbox.enqueue(IncidentEvent.objects.create(incident=other, kind="reopened", at=NOW, text="again"))
    assert told(email) == [("opened", PENDING), ("resolved", PENDING), ("reopened", PENDING)]


def test_an_event_costs_the_same_few_statements_however_many_channels_there_are(
    happened: Happened, project: Project, django_assert_num_queries: Any
) -> None:
    for number in range(20):
        Channel.objects.create(project=project, kind="email", name=str(number), config={"to": ["a@example.com"]})
    event = happened("opened")
    with django_assert_num_queries(3):
        outbox.enqueue(event)


# The relay


@pytest.fixture
def three(happened: Happened, email: Channel, webhook: Channel) -> list[Delivery]:
    for kind in ("opened", "updated"):
        outbox.enqueue(happened(kind))
    return list(Delivery.objects.order_by("pk"))


def test_the_relay_wakes_one_worker_a_channel(three: list[Delivery], knocks: list[int]) -> None:
    outbox.relay(NOW)
    assert sorted(knocks) == sorted(
        delivery.pk for delivery in three if delivery.event and delivery.event.kind == "opened"
    )


def test_the_relay_leaves_alone_what_is_being_sent_until_the_lease_runs_out(
    happened: Happened, email: Channel, knocks: list[int]
) -> None:
    outbox.enqueue(happened("opened"))
    email.deliveries.update(lease_until=NOW + timedelta(seconds=60))
    outbox.relay(NOW + timedelta(seconds=59))
    assert knocks == []
    outbox.relay(NOW + timedelta(seconds=60))
    assert knocks == [email.deliveries.get().pk]


@pytest.mark.parametrize(
    "changes", [{"state": SENT}, {"state": FAILED}, {"state": SKIPPED}, {"next_try_at": NOW + timedelta(seconds=1)}]
)
def test_the_relay_wakes_nobody_for_what_is_not_due(
    happened: Happened, email: Channel, knocks: list[int], changes: dict[str, Any]
) -> None:
    outbox.enqueue(happened("opened"))
    email.deliveries.update(**changes)
    outbox.relay(NOW)
    assert knocks == []


def test_a_blocked_incident_does_not_hide_the_others_of_its_channel(
    happened: Happened, email: Channel, incident: Incident, knocks: list[int]
) -> None:
    outbox.enqueue(happened("opened"))
    email.deliveries.update(next_try_at=NOW + timedelta(hours=4), attempts=8)
    outbox.enqueue(happened("updated"))
    Incident.objects.filter(pk=incident.pk).update(resolved_at=NOW)
    other = Incident.objects.create(
        project=incident.project, agent=incident.agent, kind="loop", severity="warning", reason="r",
        started_at=NOW, opened_at=NOW,
    )  # fmt: skip
    outbox.enqueue(IncidentEvent.objects.create(incident=other, kind="opened", at=NOW, text="loop"))
    outbox.relay(NOW)
    assert knocks == [email.deliveries.get(event__incident=other).pk]


def test_one_run_of_the_relay_is_bounded(
    happened: Happened, project: Project, knocks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_KNOCKS", 3)
    for number in range(5):
        Channel.objects.create(project=project, kind="email", name=str(number), config={"to": ["a@example.com"]})
    outbox.enqueue(happened("opened"))
    outbox.relay(NOW)
    assert len(knocks) == 3


def test_what_waited_a_day_for_a_dead_channel_is_given_up_and_says_so(
    happened: Happened, email: Channel, webhook: Channel
) -> None:
    outbox.enqueue(happened("opened"))
    Channel.objects.filter(pk=email.pk).update(retry_at=NOW, failing_since=NOW)
    outbox.relay(NOW + timedelta(hours=23, minutes=59))
    assert told(email) == [("opened", PENDING)]
    outbox.relay(NOW + timedelta(hours=24))
    assert told(email) == [("opened", FAILED)]
    assert "24 hours" in email.deliveries.get().last_error
    assert told(webhook) == [("opened", PENDING)]


def test_after_two_days_without_workers_alerts_are_still_sent(
    happened: Happened, email: Channel, knocks: list[int]
) -> None:
    outbox.enqueue(happened("opened"))
    outbox.relay(NOW + timedelta(days=2))
    assert told(email) == [("opened", PENDING)]
    assert knocks == [email.deliveries.get().pk]


def test_a_channel_for_critical_ones_hears_of_a_rise_and_of_the_end(
    happened: Happened, email: Channel, webhook: Channel, incident: Incident
) -> None:
    Channel.objects.filter(pk=email.pk).update(severity="critical")
    incident.severity = "warning"
    outbox.enqueue(happened("opened"))
    assert (told(email), told(webhook)) == ([], [("opened", PENDING)])
    incident.severity = "critical"
    outbox.enqueue(happened("updated"))
    end(email, SENT)
    outbox.enqueue(happened("resolved"))
    assert told(email) == [("updated", SENT), ("resolved", PENDING)]


def test_a_channel_with_labels_hears_only_of_agents_that_have_them(
    happened: Happened, email: Channel, incident: Incident
) -> None:
    Channel.objects.filter(pk=email.pk).update(labels={"env": "prod"})
    outbox.enqueue(happened("opened"))
    assert told(email) == []
    incident.agent.labels = {"env": "prod", "team": "a"}
    outbox.enqueue(happened("updated"))
    assert told(email) == [("updated", PENDING)]


def test_of_agents_that_fell_silent_together_one_with_the_labels_is_enough(
    happened: Happened, email: Channel, incident: Incident
) -> None:
    Channel.objects.filter(pk=email.pk).update(labels={"env": "prod"})
    other = create_agent(project=incident.project, name="other", now=NOW)
    Agent.objects.filter(pk=other.pk).update(labels={"env": "prod"})
    Signal.objects.create(
        incident=incident, agent=other, kind="missed_heartbeat", severity="critical", started_at=NOW, opened_at=NOW
    )
    incident.together = True
    outbox.enqueue(happened("opened"))
    assert told(email) == [("opened", PENDING)]
