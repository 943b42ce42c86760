"""One sender per channel, in order within an incident, and nothing that waits for anything."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from agents.models import Incident, IncidentEvent
from alerts import leases, outbox
from alerts.leases import Waiting
from alerts.models import Channel, Delivery
from tests.alerts.conftest import NOW

Happened = Callable[..., IncidentEvent]
LATER = NOW + timedelta(seconds=60)


@pytest.fixture(autouse=True)
def _sleeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alerts.wakeup.wake", lambda ids: None)


@pytest.fixture
def opened(happened: Happened, webhook: Channel) -> Delivery:
    outbox.enqueue(happened("opened"))
    return webhook.deliveries.get()


def taken(channel: Channel, now: datetime, held: datetime | None = None) -> list[int]:
    batch = leases.claim(channel.pk, now, held)
    return [delivery.pk for delivery in batch.deliveries] if batch else []


def waiting(pk: int, incident: int, **changes: Any) -> Waiting:
    values = {"recipient": "", "next_try_at": NOW, "lease_until": None, "attempts": 0, **changes}
    return Waiting(pk, incident, **values)


def test_later_events_wait_for_earlier_ones() -> None:
    rows = [
        waiting(1, 7, next_try_at=LATER),
        waiting(2, 8),
        waiting(3, 7),
        waiting(4, 7, recipient="b@example.com"),
        waiting(5, 8),
        waiting(6, 9, lease_until=LATER),
        waiting(7, 9),
    ]
    assert [row.pk for row in leases.in_order(rows, lambda row: row.is_due(NOW))] == [2, 4, 5]


def test_claim_takes_a_whole_batch(happened: Happened, opened: Delivery, webhook: Channel) -> None:
    outbox.enqueue(happened("updated"))
    batch = leases.claim(webhook.pk, NOW)
    assert batch is not None
    assert [delivery.event.kind for delivery in batch.deliveries if delivery.event] == ["opened", "updated"]
    opened.refresh_from_db()
    assert (opened.lease_until, opened.attempts) == (LATER, 1)


def test_claim_lasts_as_long_as_its_lease(opened: Delivery, webhook: Channel) -> None:
    assert taken(webhook, NOW) == [opened.pk]
    assert taken(webhook, NOW + timedelta(seconds=59)) == []
    again = leases.claim(webhook.pk, LATER)
    assert again is not None
    assert again.deliveries[0].attempts == 2
    assert again.deliveries[0].message_id == opened.message_id


def test_new_event_waits_for_the_sender(happened: Happened, opened: Delivery, webhook: Channel) -> None:
    batch = leases.claim(webhook.pk, NOW)
    assert batch is not None
    outbox.enqueue(happened("updated"))
    assert taken(webhook, NOW) == []
    leases.give_back(batch, batch.deliveries)
    assert len(taken(webhook, NOW, batch.until)) == 2


def test_claim_of_nothing_frees_the_channel(opened: Delivery, webhook: Channel) -> None:
    Delivery.objects.update(next_try_at=LATER)
    assert leases.claim(webhook.pk, NOW) is None
    webhook.refresh_from_db()
    assert webhook.lease_until is None


def test_disabled_channel_is_freed_but_not_claimed(opened: Delivery, webhook: Channel) -> None:
    batch = leases.claim(webhook.pk, NOW)
    assert batch is not None
    Channel.objects.update(enabled=False)
    assert leases.claim(webhook.pk, NOW, batch.until) is None
    webhook.refresh_from_db()
    assert webhook.lease_until is None


def test_given_back_messages_count_no_attempt(opened: Delivery, webhook: Channel) -> None:
    batch = leases.claim(webhook.pk, NOW)
    assert batch is not None
    leases.give_back(batch, batch.deliveries)
    opened.refresh_from_db()
    assert (opened.lease_until, opened.attempts, opened.state) == (None, 0, Delivery.State.PENDING)


def test_failing_channel_is_probed_with_one_message(happened: Happened, opened: Delivery, webhook: Channel) -> None:
    """Not always with the same: the fault may be in the message."""
    other = another(opened)
    Channel.objects.update(failing_since=NOW)
    Delivery.objects.filter(pk=opened.pk).update(attempts=3)
    assert taken(webhook, NOW) == [other.pk]


def test_test_message_holds_up_no_alert(opened: Delivery, webhook: Channel) -> None:
    Delivery.objects.create(channel=webhook, message_id="msg_test", next_try_at=NOW, lease_until=LATER, attempts=1)
    assert taken(webhook, NOW) == [opened.pk]


def test_many_that_wait_hide_none_that_is_due(happened: Happened, opened: Delivery, webhook: Channel) -> None:
    """More than a page of notifications wait for an earlier one of their incident."""
    events = [happened("updated") for _ in range(300)]
    Delivery.objects.bulk_create(
        Delivery(event=event, channel=webhook, message_id=f"msg_{event.pk}", next_try_at=NOW) for event in events
    )
    Delivery.objects.filter(pk=opened.pk).update(next_try_at=LATER)
    assert taken(webhook, NOW) == []
    other = another(opened)
    assert taken(webhook, NOW) == [other.pk]


def test_claim_costs_five_queries(
    happened: Happened, opened: Delivery, webhook: Channel, django_assert_num_queries: Any
) -> None:
    for _ in range(50):
        outbox.enqueue(happened("updated"))
    with django_assert_num_queries(7):  # two of them are the savepoint
        assert len(taken(webhook, NOW)) == 51


def another(delivery: Delivery) -> Delivery:
    """A delivery of another incident in the same channel."""
    assert delivery.event is not None
    incident = delivery.event.incident
    Incident.objects.update(resolved_at=NOW)
    other = Incident.objects.create(
        project=incident.project, agent=incident.agent, kind="loop", severity="warning", reason="r",
        started_at=NOW, opened_at=NOW,
    )  # fmt: skip
    outbox.enqueue(IncidentEvent.objects.create(incident=other, kind="opened", at=NOW, text="loop"))
    return delivery.channel.deliveries.get(event__incident=other)


@pytest.mark.django_db(transaction=True)
def test_only_one_of_competing_senders_claims(opened: Delivery, webhook: Channel) -> None:
    ready, claims = threading.Barrier(4), list[list[int]]()

    def work() -> None:
        ready.wait()
        claims.append(taken(webhook, NOW))
        connection.close()

    run_together([work] * 4)
    assert sorted(claims) == [[], [], [], [opened.pk]]


def run_together(work: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_claim_waits_for_no_cancellation(
    opened: Delivery, happened: Happened, incident: Incident, webhook: Channel
) -> None:
    """A review that reopens the incident has cancelled its recovery but not committed yet.

    On SQLite the sender waits for the whole transaction anyway.
    """
    Delivery.objects.update(state=Delivery.State.SENT)
    outbox.enqueue(happened("resolved"))
    recovery = webhook.deliveries.get(event__kind="resolved")
    Incident.objects.update(reopened=1)
    claims: list[list[int]] = []

    def claim() -> None:
        claims.append(taken(webhook, NOW))
        connection.close()

    with transaction.atomic():
        outbox.enqueue(happened("reopened"))
        run_together([claim])
        assert claims == [[]]
    recovery.refresh_from_db()
    assert recovery.state == Delivery.State.SKIPPED
    assert taken(webhook, NOW) == []


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_committed_alert_is_never_left_behind(opened: Delivery, webhook: Channel) -> None:
    """A sender that finds nothing is freeing the channel while another alert is committed and wakes a worker."""
    Delivery.objects.update(next_try_at=LATER)
    claims: list[list[int]] = []

    def claim() -> None:
        claims.append(taken(webhook, NOW))
        connection.close()

    worker = threading.Thread(target=claim)
    with transaction.atomic():
        assert leases.claim(webhook.pk, NOW) is None
        with_own_connection(lambda: Delivery.objects.update(next_try_at=NOW))
        worker.start()
        worker.join(0.3)
        assert worker.is_alive()  # waits for the channel's row, and holds nothing
    worker.join(60)
    assert claims == [[opened.pk]]


def with_own_connection(work: Callable[[], Any]) -> None:
    def run() -> None:
        work()
        connection.close()

    run_together([run])
