"""Deliveries are written with their event, for the right channels, and none is lost or duplicated."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from agents.incidents import events
from agents.ingest.registration import create_agent
from agents.models import Agent, Incident, IncidentEvent, Signal
from alerts import outbox, wakeup
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
def woken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The channels for which a worker was woken."""
    woken: list[int] = []
    monkeypatch.setattr(outbox, "wake", woken.extend)
    monkeypatch.setattr(wakeup, "wake", woken.extend)
    return woken


def notified(channel: Channel) -> list[tuple[str, str]]:
    """The events a channel was or will be notified of, oldest first."""
    rows = channel.deliveries.filter(event__isnull=False).order_by("pk").select_related("event")
    return [(row.event.kind, row.state) for row in rows if row.event]


def end(channel: Channel, state: str, **changes: Any) -> None:
    channel.deliveries.filter(state=PENDING).update(state=state, **changes)


def test_opening_notifies_every_enabled_channel(
    happened: Happened, email: Channel, webhook: Channel, stranger: Any
) -> None:
    off = Channel.objects.create(project=email.project, kind="slack", name="off", config={}, enabled=False)
    theirs = Channel.objects.create(project=stranger.teams.get().projects.get(), kind="email", name="x", config={})
    outbox.enqueue(happened("opened"))
    assert notified(email) == notified(webhook) == [("opened", PENDING)]
    assert notified(off) == notified(theirs) == []


def test_event_and_deliveries_share_a_transaction(incident: Incident, email: Channel, woken: list[int]) -> None:
    with transaction.atomic():
        events.record(incident=incident, kind="opened", text="down", now=NOW)
        assert Delivery.objects.count() == 1
        transaction.set_rollback(True)
    assert Delivery.objects.count() == 0
    assert IncidentEvent.objects.count() == 0
    assert woken == []


def test_workers_are_woken_only_after_the_commit(
    happened: Happened, email: Channel, woken: list[int], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        outbox.enqueue(happened("opened"))
        assert woken == []
    assert woken == [email.pk]


def test_notes_and_commands_notify_nobody(happened: Happened, webhook: Channel) -> None:
    for kind in ("note", "command"):
        outbox.enqueue(happened(kind))
    assert notified(webhook) == []


def test_only_webhooks_receive_acknowledgements(happened: Happened, email: Channel, webhook: Channel) -> None:
    for kind in ("opened", "acknowledged"):
        outbox.enqueue(happened(kind))
    assert notified(email) == [("opened", PENDING)]
    assert notified(webhook) == [("opened", PENDING), ("acknowledged", PENDING)]


@pytest.mark.parametrize(("failure", "recovery"), [(PENDING, True), (SENT, True), (FAILED, False), (SKIPPED, False)])
def test_recovery_follows_a_delivered_failure(happened: Happened, email: Channel, failure: str, recovery: bool) -> None:
    outbox.enqueue(happened("opened"))
    end(email, failure)
    outbox.enqueue(happened("resolved"))
    assert [kind for kind, _ in notified(email)] == (["opened", "resolved"] if recovery else ["opened"])


def test_late_channel_receives_no_recovery(happened: Happened, email: Channel, project: Project) -> None:
    outbox.enqueue(happened("opened"))
    late = Channel.objects.create(project=project, kind="email", name="late", config={"to": ["a@example.com"]})
    outbox.enqueue(happened("resolved"))
    assert notified(late) == []
    assert len(notified(email)) == 2


def test_late_channel_receives_signal_and_recovery(happened: Happened, project: Project) -> None:
    outbox.enqueue(happened("opened"))
    late = Channel.objects.create(project=project, kind="email", name="late", config={"to": ["a@example.com"]})
    for kind in ("updated", "resolved"):
        outbox.enqueue(happened(kind))
    assert [kind for kind, _ in notified(late)] == ["updated", "resolved"]


def reopen(incident: Incident) -> None:
    incident.reopened += 1
    incident.save()


def test_first_recovery_is_sent_immediately(happened: Happened, email: Channel, incident: Incident) -> None:
    outbox.enqueue(happened("opened"))
    outbox.enqueue(happened("resolved"))
    assert email.deliveries.get(event__kind="resolved").next_try_at == NOW


def test_recovery_after_flapping_is_delayed(
    happened: Happened, email: Channel, incident: Incident, woken: list[int], django_capture_on_commit_callbacks: Any
) -> None:
    outbox.enqueue(happened("opened"))
    reopen(incident)
    with django_capture_on_commit_callbacks(execute=True):
        outbox.enqueue(happened("resolved"))
    assert email.deliveries.get(event__kind="resolved").next_try_at == NOW + timedelta(minutes=5)
    assert woken == []


# The recovery's delivery when the incident comes back; whether the reopening is sent; the recovery's state afterwards
FLAPS = [
    ({"state": PENDING}, False, SKIPPED),
    ({"state": PENDING, "attempts": 2}, False, SKIPPED),
    ({"state": PENDING, "attempts": 1, "lease_until": NOW + timedelta(seconds=50)}, True, PENDING),
    ({"state": PENDING, "attempts": 1, "lease_until": NOW - timedelta(seconds=50)}, True, SKIPPED),
    ({"state": SENT, "attempts": 1}, True, SENT),
    ({"state": FAILED, "attempts": 9}, True, FAILED),
]


@pytest.mark.parametrize(("recovery", "reopening_sent", "becomes"), FLAPS)
def test_reopening_without_sent_recovery_is_silent(
    happened: Happened, email: Channel, incident: Incident, recovery: Any, reopening_sent: bool, becomes: str
) -> None:
    outbox.enqueue(happened("opened"))
    end(email, SENT)
    outbox.enqueue(happened("resolved"))
    email.deliveries.filter(event__kind="resolved").update(**recovery)
    reopen(incident)
    outbox.enqueue(happened("reopened"))
    expected = [("opened", SENT), ("resolved", becomes)]
    assert notified(email) == ([*expected, ("reopened", PENDING)] if reopening_sent else expected)


def test_ten_flaps_send_one_failure_and_one_recovery(happened: Happened, email: Channel, incident: Incident) -> None:
    outbox.enqueue(happened("opened"))
    end(email, SENT)
    for _ in range(10):
        outbox.enqueue(happened("resolved"))
        reopen(incident)
        outbox.enqueue(happened("reopened"))
    outbox.enqueue(happened("resolved"))
    assert [row for row in notified(email) if row[1] != SKIPPED] == [("opened", SENT), ("resolved", PENDING)]


def test_reopening_notifies_only_recovered_channels(
    happened: Happened, email: Channel, webhook: Channel, incident: Incident
) -> None:
    for kind in ("opened", "resolved"):
        outbox.enqueue(happened(kind))
    end(email, SENT)
    reopen(incident)
    outbox.enqueue(happened("reopened"))
    assert notified(email)[-1] == ("reopened", PENDING)
    assert notified(webhook)[-1] == ("resolved", SKIPPED)


def test_recovery_of_another_incident_is_kept(happened: Happened, email: Channel, incident: Incident) -> None:
    for kind in ("opened", "resolved"):
        outbox.enqueue(happened(kind))
    Incident.objects.filter(pk=incident.pk).update(resolved_at=NOW)
    other = Incident.objects.create(
        project=incident.project, agent=incident.agent, kind="loop", severity="warning", reason="r",
        started_at=NOW, opened_at=NOW,
    )  # fmt: skip
    outbox.enqueue(IncidentEvent.objects.create(incident=other, kind="reopened", at=NOW, text="again"))
    assert notified(email) == [("opened", PENDING), ("resolved", PENDING), ("reopened", PENDING)]


def test_enqueue_costs_four_queries(happened: Happened, project: Project, django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        Channel.objects.create(project=project, kind="email", name=str(number), config={"to": ["a@example.com"]})
    event = happened("opened")
    with django_assert_max_num_queries(4):  # the last looks for quiet hours of recipients
        outbox.enqueue(event)


# The relay


@pytest.fixture
def three(happened: Happened, email: Channel, webhook: Channel) -> list[Delivery]:
    for kind in ("opened", "updated"):
        outbox.enqueue(happened(kind))
    return list(Delivery.objects.order_by("pk"))


def test_relay_wakes_one_worker_per_channel(three: list[Delivery], woken: list[int]) -> None:
    outbox.relay(NOW)
    assert sorted(woken) == sorted({delivery.channel_id for delivery in three})


def test_relay_waits_until_the_lease_expires(happened: Happened, email: Channel, woken: list[int]) -> None:
    outbox.enqueue(happened("opened"))
    email.deliveries.update(lease_until=NOW + timedelta(seconds=60))
    outbox.relay(NOW + timedelta(seconds=59))
    assert woken == []
    outbox.relay(NOW + timedelta(seconds=60))
    assert woken == [email.pk]


@pytest.mark.parametrize(
    "changes", [{"state": SENT}, {"state": FAILED}, {"state": SKIPPED}, {"next_try_at": NOW + timedelta(seconds=1)}]
)
def test_relay_ignores_what_is_not_due(
    happened: Happened, email: Channel, woken: list[int], changes: dict[str, Any]
) -> None:
    outbox.enqueue(happened("opened"))
    email.deliveries.update(**changes)
    outbox.relay(NOW)
    assert woken == []


def test_blocked_incident_does_not_block_others(
    happened: Happened, email: Channel, incident: Incident, woken: list[int]
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
    assert woken == [email.pk]


def test_relay_wakes_a_limited_number(
    happened: Happened, project: Project, woken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MAX_WAKEUPS", 3)
    for number in range(5):
        Channel.objects.create(project=project, kind="email", name=str(number), config={"to": ["a@example.com"]})
    outbox.enqueue(happened("opened"))
    outbox.relay(NOW)
    assert len(woken) == 3


def test_dead_channel_is_given_up_after_a_day(happened: Happened, email: Channel, webhook: Channel) -> None:
    outbox.enqueue(happened("opened"))
    Channel.objects.filter(pk=email.pk).update(retry_at=NOW, failing_since=NOW)
    outbox.relay(NOW + timedelta(hours=23, minutes=59))
    assert notified(email) == [("opened", PENDING)]
    outbox.relay(NOW + timedelta(hours=24))
    assert notified(email) == [("opened", FAILED)]
    assert "24 hours" in email.deliveries.get().last_error
    assert notified(webhook) == [("opened", PENDING)]


def test_alerts_survive_two_days_without_workers(happened: Happened, email: Channel, woken: list[int]) -> None:
    outbox.enqueue(happened("opened"))
    outbox.relay(NOW + timedelta(days=2))
    assert notified(email) == [("opened", PENDING)]
    assert woken == [email.pk]


def test_critical_channel_gets_rise_and_recovery(
    happened: Happened, email: Channel, webhook: Channel, incident: Incident
) -> None:
    Channel.objects.filter(pk=email.pk).update(severity="critical")
    incident.severity = "warning"
    outbox.enqueue(happened("opened"))
    assert (notified(email), notified(webhook)) == ([], [("opened", PENDING)])
    incident.severity = "critical"
    outbox.enqueue(happened("updated"))
    end(email, SENT)
    outbox.enqueue(happened("resolved"))
    assert notified(email) == [("updated", SENT), ("resolved", PENDING)]


def test_label_filter_selects_agents(happened: Happened, email: Channel, incident: Incident) -> None:
    Channel.objects.filter(pk=email.pk).update(labels={"env": "prod"})
    outbox.enqueue(happened("opened"))
    assert notified(email) == []
    incident.agent.labels = {"env": "prod", "team": "a"}
    outbox.enqueue(happened("updated"))
    assert notified(email) == [("updated", PENDING)]


def test_one_matching_agent_of_a_group_is_enough(happened: Happened, email: Channel, incident: Incident) -> None:
    Channel.objects.filter(pk=email.pk).update(labels={"env": "prod"})
    other = create_agent(project=incident.project, name="other", now=NOW)
    Agent.objects.filter(pk=other.pk).update(labels={"env": "prod"})
    Signal.objects.create(
        incident=incident, agent=other, kind="missed_heartbeat", severity="critical", started_at=NOW, opened_at=NOW
    )
    incident.together = True
    outbox.enqueue(happened("opened"))
    assert notified(email) == [("opened", PENDING)]


def test_relay_costs_the_same_with_a_backlog(
    happened: Happened, email: Channel, webhook: Channel, django_assert_num_queries: Any
) -> None:
    """Thousands wait for two dead channels."""
    Channel.objects.update(retry_at=NOW + timedelta(minutes=5), failing_since=NOW)
    event = happened("opened")
    small = relay_steps(django_assert_num_queries)
    for channel in (email, webhook):
        fill(event, channel, 1250)
    large = relay_steps(django_assert_num_queries)
    assert Delivery.objects.pending().count() == 2500
    assert large < small + 100 * 2500  # instructions of the database: linear, where each row used to read all others


def fill(event: IncidentEvent, channel: Channel, count: int) -> None:
    Delivery.objects.bulk_create(
        Delivery(event=event, channel=channel, recipient=str(n), message_id=f"{channel.pk}-{n}", next_try_at=NOW)
        for n in range(count)
    )


def relay_steps(assert_num_queries: Any) -> int:
    """Instructions that SQLite needs for one run of the relay; 0 on PostgreSQL."""
    steps = [0]

    def count() -> int:
        steps[0] += 1
        return 0

    connection.ensure_connection()
    is_sqlite = connection.vendor == "sqlite"
    if is_sqlite:
        connection.connection.set_progress_handler(count, 1)
    try:
        with assert_num_queries(3):
            outbox.relay(NOW)
    finally:
        if is_sqlite:
            connection.connection.set_progress_handler(None, 0)
    return steps[0]


def test_transaction_wakes_each_channel_once(
    happened: Happened, email: Channel, webhook: Channel, woken: list[int], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        for _ in range(10):
            outbox.enqueue(happened("updated"))
    assert len(callbacks) == 1
    assert woken == sorted([email.pk, webhook.pk])


@pytest.mark.django_db(transaction=True)
def test_rolled_back_event_takes_no_wakeup_along(happened: Happened, email: Channel, woken: list[int]) -> None:
    with transaction.atomic():
        with transaction.atomic():
            outbox.enqueue(happened("opened"))
            transaction.set_rollback(True)
        outbox.enqueue(happened("updated"))
    assert woken == [email.pk]


def test_interrupted_test_is_not_repeated(email: Channel, woken: list[int]) -> None:
    """Its sender was killed. Nobody expects a test minutes later."""
    test = Delivery.objects.create(
        channel=email, message_id="msg_1", next_try_at=NOW, lease_until=NOW + timedelta(seconds=60), attempts=1
    )
    outbox.relay(NOW + timedelta(seconds=59))
    test.refresh_from_db()
    assert test.state == PENDING
    outbox.relay(NOW + timedelta(seconds=60))
    test.refresh_from_db()
    assert test.state == FAILED
    assert "Send another test" in test.last_error
    assert woken == []


def over_month(incident: Incident, agent: Agent, at: datetime = NOW) -> IncidentEvent:
    """An agent's open incident learns that the month's budget is exceeded."""
    Signal.objects.create(
        incident=incident, agent=agent, kind="cost", severity="critical", reason="over", started_at=at, opened_at=at,
        evidence={"budget": "month"},
    )  # fmt: skip
    return IncidentEvent.objects.create(
        incident=incident, kind="updated", at=at, text="over", data={"signal": "cost", "rose": False}
    )


def broken(project: Project, name: str) -> tuple[Incident, Agent]:
    agent = create_agent(project=project, name=name, now=NOW)
    incident = Incident.objects.create(
        project=project, agent=agent, kind="error", severity="critical", reason="r", started_at=NOW, opened_at=NOW
    )
    outbox.enqueue(IncidentEvent.objects.create(incident=incident, kind="opened", at=NOW, text="r"))
    return incident, agent


def test_one_overrun_is_one_message(project: Project, email: Channel) -> None:
    """Five agents were in trouble already when the project exceeded its monthly budget."""
    agents = [broken(project, f"bot-{n}") for n in range(5)]
    later = NOW + timedelta(minutes=1)
    for incident, agent in agents:
        outbox.enqueue(over_month(incident, agent, later))
    assert [kind for kind, _ in notified(email)] == ["opened"] * 5 + ["updated"]


def test_overrun_of_its_own_incident_is_told_once(project: Project, email: Channel) -> None:
    """The agents that were well share an incident, whose message came first."""
    incident, agent = broken(project, "bot")
    later = NOW + timedelta(minutes=1)
    well = create_agent(project=project, name="well", now=NOW)
    shared = Incident.objects.create(
        project=project, agent=well, kind="cost", severity="critical", reason="All", together=True, started_at=later,
        opened_at=later,
    )  # fmt: skip
    over_month(shared, well, later)
    outbox.enqueue(IncidentEvent.objects.create(incident=shared, kind="opened", at=later, text="All"))
    outbox.enqueue(over_month(incident, agent, later))
    assert [kind for kind, _ in notified(email)] == ["opened", "opened"]


def test_overrun_reaches_channels_not_yet_informed(project: Project, email: Channel) -> None:
    first, second = broken(project, "a"), broken(project, "b")
    outbox.enqueue(over_month(*first))
    late = Channel.objects.create(project=project, kind="email", name="late", config={"to": ["a@example.com"]})
    outbox.enqueue(over_month(*second))
    assert [kind for kind, _ in notified(late)] == ["updated"]


def test_other_signals_are_still_told_of_each_agent(project: Project, email: Channel) -> None:
    first, second = broken(project, "a"), broken(project, "b")
    for incident, agent in (first, second):
        event = over_month(incident, agent)
        Signal.objects.filter(incident=incident).update(evidence={"budget": "day"})
        outbox.enqueue(event)
    assert [kind for kind, _ in notified(email)] == ["opened", "opened", "updated", "updated"]


# Snoozed


def test_snooze_holds_everything_back_until_its_end(happened: Happened, email: Channel, incident: Incident) -> None:
    outbox.enqueue(happened("opened"))
    end(email, SENT)
    incident.snoozed_until = NOW + timedelta(hours=2)
    outbox.enqueue(happened("updated", NOW + timedelta(minutes=1)), happened("resolved", NOW + timedelta(minutes=5)))
    assert notified(email) == [("opened", SENT), ("resolved", PENDING)]
    assert email.deliveries.pending().get().next_try_at == incident.snoozed_until


def test_return_during_a_snooze_is_never_announced(happened: Happened, email: Channel, incident: Incident) -> None:
    """Nobody hears of a recovery that did not last, nor twice of one failure."""
    outbox.enqueue(happened("opened"))
    end(email, SENT)
    incident.snoozed_until = NOW + timedelta(hours=2)
    outbox.enqueue(happened("resolved", NOW + timedelta(minutes=5)))
    outbox.enqueue(happened("reopened", NOW + timedelta(minutes=6)))
    assert notified(email) == [("opened", SENT), ("resolved", SKIPPED)]
    incident.snoozed_until = None
    outbox.enqueue(happened("reminder", NOW + timedelta(hours=2)))
    assert notified(email)[2:] == [("reminder", PENDING)]


def test_worse_than_what_was_snoozed_gets_through(happened: Happened, email: Channel, incident: Incident) -> None:
    incident.snoozed_until = NOW + timedelta(hours=2)
    event = happened("updated")
    event.data = {"signal": "stalled", "rose": True, "severity": "critical"}
    outbox.enqueue(event)
    assert notified(email) == [("updated", PENDING)]


def test_reminder_reaches_channels_added_meanwhile(happened: Happened, email: Channel, webhook: Channel) -> None:
    """They may hear of the recovery only because they heard of the failure."""
    Channel.objects.filter(pk=webhook.pk).update(enabled=False)
    outbox.enqueue(happened("opened"))
    Channel.objects.filter(pk=webhook.pk).update(enabled=True)
    outbox.enqueue(happened("resolved"))
    assert notified(webhook) == []
    outbox.enqueue(happened("reminder"), happened("resolved"))
    assert notified(webhook) == [("reminder", PENDING), ("resolved", PENDING)]
