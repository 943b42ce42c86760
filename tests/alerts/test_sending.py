"""Claiming, sending and recording: one at a time per channel, in order, and never lost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.utils import timezone

from agents.models import Incident, IncidentEvent
from alerts import channels, leases, outbox, outcomes, owner_notices, sending
from alerts.channels.base import ChannelError
from alerts.leases import Batch
from alerts.models import Channel, Delivery
from teams.models import Project, User
from tests.alerts.conftest import NOW
from tests.alerts.receiver import Receiver, responds, stays_silent

Happened = Callable[..., IncidentEvent]
State = Delivery.State


@pytest.fixture(autouse=True)
def woken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    woken: list[int] = []
    monkeypatch.setattr(sending, "wake", woken.extend)
    monkeypatch.setattr(outbox, "wake", lambda ids: None)
    monkeypatch.setattr("random.random", lambda: 0.0)
    return woken


@pytest.fixture
def opened(happened: Happened, webhook: Channel) -> Delivery:
    outbox.enqueue(happened("opened"))
    return webhook.deliveries.get()


def fresh(row: Any) -> Any:
    row.refresh_from_db()
    return row


def close_to(at: Any, expected: Any) -> bool:
    return bool(abs(at - expected) < timedelta(seconds=3))


def claimed(delivery: Delivery, now: Any) -> Batch:
    batch = leases.claim(delivery.channel_id, now)
    assert batch is not None
    return batch


def test_delivery_is_sent_once(opened: Delivery, receiver: Receiver) -> None:
    sending.deliver(opened.channel_id, NOW)
    sending.deliver(opened.channel_id, NOW + timedelta(hours=1))
    assert len(receiver.requests) == 1
    assert fresh(opened).state == State.SENT
    assert opened.attempts == 1
    assert opened.lease_until is None
    assert close_to(opened.sent_at, NOW)
    assert close_to(fresh(opened.channel).last_sent_at, NOW)


def test_deleted_delivery_is_ignored(db: None) -> None:
    sending.deliver(4711, NOW)


@pytest.mark.django_db(transaction=True)
def test_only_one_of_competing_workers_sends(opened: Delivery, receiver: Receiver) -> None:
    ready = threading.Barrier(4)

    def work() -> None:
        ready.wait()
        sending.deliver(opened.channel_id, NOW)
        connection.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(receiver.requests) == 1
    assert fresh(opened).attempts == 1


def test_expired_sender_does_not_overwrite_result(opened: Delivery) -> None:
    slow, quick = claimed(opened, NOW), claimed(opened, NOW + timedelta(seconds=61))
    outcomes.record(quick, quick.deliveries, None, NOW + timedelta(seconds=62))
    outcomes.record(slow, [], (opened, ChannelError("late")), NOW + timedelta(seconds=63))
    assert fresh(opened).state == State.SENT
    assert opened.last_error == ""


def test_expired_sender_does_not_release_new_lease(opened: Delivery) -> None:
    slow, quick = claimed(opened, NOW), claimed(opened, NOW + timedelta(seconds=61))
    assert not outcomes.record(slow, [], (opened, ChannelError("late")), NOW + timedelta(seconds=62))
    assert fresh(opened).lease_until == quick.until
    assert opened.last_error == ""
    assert outcomes.record(quick, quick.deliveries, None, NOW + timedelta(seconds=63))
    assert fresh(opened).state == State.SENT


def test_late_sender_without_successor_records_result(opened: Delivery) -> None:
    slow = claimed(opened, NOW)
    outcomes.record(slow, slow.deliveries, None, NOW + timedelta(seconds=90))
    assert fresh(opened).state == State.SENT


def test_events_of_an_incident_arrive_in_order(
    happened: Happened, opened: Delivery, webhook: Channel, receiver: Receiver, woken: list[int]
) -> None:
    outbox.enqueue(happened("updated"))
    sending.deliver(webhook.pk, NOW)
    types = [json.loads(request.body)["type"] for request in receiver.requests]
    assert types == ["incident.opened", "incident.updated"]
    assert woken == []


def test_failed_attempt_is_retried_and_arrives(opened: Delivery, receiver: Receiver) -> None:
    receiver.answer = responds("500 Oops")
    sending.deliver(opened.channel_id, NOW)
    assert fresh(opened).state == State.PENDING
    assert close_to(opened.next_try_at, NOW + timedelta(seconds=5))
    assert opened.last_error == fresh(opened.channel).last_error == "The receiver answered 500."
    assert opened.channel.failing_since
    receiver.answer = responds("200 OK")
    sending.deliver(opened.channel_id, NOW + timedelta(seconds=1))
    assert len(receiver.requests) == 1
    sending.deliver(opened.channel_id, NOW + timedelta(seconds=10))
    assert fresh(opened).state == State.SENT
    assert fresh(opened.channel).failing_since is None
    assert opened.channel.last_error == ""
    ids = {request.headers["webhook-id"] for request in receiver.requests}
    assert ids == {opened.message_id}


def test_retry_after_is_respected(opened: Delivery, receiver: Receiver) -> None:
    receiver.answer = responds("429 Slow down", b"", "Retry-After: 600")
    sending.deliver(opened.channel_id, NOW)
    assert close_to(fresh(opened).next_try_at, NOW + timedelta(seconds=600))
    assert close_to(fresh(opened.channel).retry_at, NOW + timedelta(seconds=600))


def another(delivery: Delivery, kind: str = "loop") -> Delivery:
    """A delivery of another incident in the same channel."""
    incident = delivery.event.incident  # type: ignore[union-attr]
    Incident.objects.update(resolved_at=NOW)
    other = Incident.objects.create(
        project=incident.project, agent=incident.agent, kind=kind, severity="warning", reason="r",
        started_at=NOW, opened_at=NOW,
    )  # fmt: skip
    outbox.enqueue(IncidentEvent.objects.create(incident=other, kind="opened", at=NOW, text="loop"))
    return delivery.channel.deliveries.get(event__incident=other)


def test_deliveries_of_a_failing_channel_wait(opened: Delivery, receiver: Receiver) -> None:
    receiver.answer = responds("500 Oops")
    other = another(opened)
    sending.deliver(opened.channel_id, NOW)
    assert fresh(other).attempts == 0
    sending.deliver(other.channel_id, NOW + timedelta(seconds=1))
    assert len(receiver.requests) == 1
    sending.deliver(other.channel_id, NOW + timedelta(seconds=10))
    assert len(receiver.requests) == 2
    assert fresh(other).attempts == 1
    assert fresh(opened.channel).failures == 2
    assert close_to(opened.channel.retry_at, NOW + timedelta(seconds=40))


def test_recovered_channel_sends_what_waited(opened: Delivery, receiver: Receiver, woken: list[int]) -> None:
    receiver.answer = responds("500 Oops")
    other = another(opened)
    Delivery.objects.filter(pk=opened.pk).update(attempts=7)
    sending.deliver(opened.channel_id, NOW)
    assert fresh(opened).next_try_at > NOW + timedelta(hours=3)
    receiver.answer = responds("200 OK")
    sending.deliver(other.channel_id, NOW + timedelta(seconds=10))
    assert fresh(other).state == fresh(opened).state == State.SENT
    assert len(receiver.requests) == 3


def test_recovered_channel_keeps_flap_delay(
    happened: Happened, opened: Delivery, incident: Incident, receiver: Receiver
) -> None:
    incident.reopened = 1
    incident.save()
    outbox.enqueue(happened("resolved"))
    Channel.objects.update(failing_since=NOW)
    sending.deliver(opened.channel_id, NOW)
    assert opened.channel.deliveries.get(event__kind="resolved").next_try_at == NOW + timedelta(minutes=5)


def test_dead_channel_delays_no_other(
    happened: Happened, project: Project, opened: Delivery, receiver: Receiver
) -> None:
    with Receiver() as second:
        config = {**opened.channel.config, "url": second.url("/hook")}
        channel = Channel.objects.create(project=project, kind="webhook", name="live", config=config)
        outbox.enqueue(happened("updated"))
        claimed(opened, NOW)  # its sender hangs here
        sending.deliver(channel.pk, NOW)
        assert len(second.requests) == 1


def test_permanent_failure_shows_why(opened: Delivery, receiver: Receiver) -> None:
    Channel.objects.update(config={"url": "ftp://nowhere", "secret": "whsec_abcd"})
    sending.deliver(opened.channel_id, NOW)
    assert fresh(opened).state == State.FAILED
    assert "must start with" in opened.last_error
    assert "must start with" in fresh(opened.channel).last_error
    assert opened.channel.enabled
    assert opened.channel.retry_at is None


def test_delivery_is_given_up_after_a_day(opened: Delivery, receiver: Receiver) -> None:
    receiver.answer = responds("500 Oops")
    Delivery.objects.update(attempts=12)
    sending.deliver(opened.channel_id, NOW + timedelta(hours=23))
    assert fresh(opened).state == State.FAILED
    assert opened.last_error == "Gave up after 24 hours: The receiver answered 500."
    assert fresh(opened.channel).failing_since


def test_410_disables_channel_and_notifies_owners(
    opened: Delivery, receiver: Receiver, owner: User, member: User
) -> None:
    receiver.answer = responds("410 Gone")
    other = another(opened)
    sending.deliver(opened.channel_id, NOW)
    assert fresh(opened).state == State.FAILED
    assert fresh(other).state == State.SKIPPED
    assert not fresh(opened.channel).enabled
    assert "410" in opened.channel.disabled_reason
    owner_notices.send_due()
    (sent,) = mail.outbox
    assert sent.to == [owner.email]
    assert "disabled" in sent.subject
    assert "410" in sent.body
    assert opened.channel.config["url"] not in sent.body


def test_disabled_channel_receives_nothing(happened: Happened, opened: Delivery, receiver: Receiver) -> None:
    Channel.objects.update(enabled=False)
    sending.deliver(opened.channel_id, NOW)
    assert receiver.requests == []


def test_unexpected_error_is_retried_without_details(
    opened: Delivery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(config: Any, message: Any) -> None:
        raise KeyError(config.secret)

    monkeypatch.setattr(channels.webhook, "send", broken)
    sending.deliver(opened.channel_id, NOW)
    assert fresh(opened).state == State.PENDING
    secret = opened.channel.config["secret"]
    assert secret not in opened.last_error
    assert secret not in caplog.text
    assert "KeyError" in caplog.text


def test_cancelled_recovery_is_not_sent(
    happened: Happened, opened: Delivery, incident: Incident, receiver: Receiver
) -> None:
    sending.deliver(opened.channel_id, NOW)
    outbox.enqueue(happened("resolved"))
    recovery = opened.channel.deliveries.get(event__kind="resolved")
    incident.reopened = 1
    incident.save()
    outbox.enqueue(happened("reopened"))
    sending.deliver(recovery.channel_id, NOW)
    assert len(receiver.requests) == 1
    assert fresh(recovery).state == State.SKIPPED


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_a_channel_hangs(
    opened: Delivery, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answer = stays_silent(receiver)

    def work() -> None:
        sending.deliver(opened.channel_id, NOW)
        connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    give_up = time.monotonic() + 60
    while not receiver.requests and time.monotonic() < give_up:
        time.sleep(0.01)
    Channel.objects.filter(pk=opened.channel_id).update(name="renamed meanwhile")
    assert Channel.objects.get().name == "renamed meanwhile"
    assert fresh(opened).lease_until is not None
    receiver.close()
    worker.join()


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_concurrent_workers_send_in_order_and_once(
    project: Project, happened: Happened, allow_private: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers claim in any order; no message is sent twice and none overtakes another.

    Not on SQLite: it has one writer and no fair queue, so three workers that never pause starve each other.
    """
    sent: dict[str, list[int]] = {}

    def record(config: Any, message: Any) -> None:
        sent.setdefault(message.recipient, []).append(Delivery.objects.get(message_id=message.id).pk)

    monkeypatch.setattr(channels.email, "send", record)
    for number in range(3):
        config = {"to": [f"a{number}@example.com"]}
        Channel.objects.create(project=project, kind="email", name=str(number), config=config)
    for _ in range(6):
        outbox.enqueue(happened("updated"))
    rows = list(Channel.objects.values_list("pk", flat=True))
    errors: list[Exception] = []

    def work(order: list[int]) -> None:
        try:
            while Delivery.objects.pending().exists() and not errors:
                for pk in order:
                    sending.deliver(pk, timezone.now())
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    orders = [rows, rows[::-1], rows[1:] + rows[:1]]
    workers = [threading.Thread(target=work, args=[order]) for order in orders]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert errors == []
    assert all(pks == sorted(pks) and len(pks) == 6 for pks in sent.values())
    assert len(sent) == 3


def test_batch_costs_a_fixed_number_of_queries(
    happened: Happened,
    opened: Delivery,
    receiver: Receiver,
    django_assert_max_num_queries: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two claims of seven or six with their savepoints, five for the incidents, two per record."""
    monkeypatch.setattr(sending, "RECORD_EVERY", timedelta(hours=1))
    monkeypatch.setattr(sending, "TURN", timedelta(hours=1))
    for _ in range(60):
        outbox.enqueue(happened("updated"))
    assert fresh(opened.channel).failing_since is None
    with django_assert_max_num_queries(24):
        sending.deliver(opened.channel_id, NOW)
    assert len(receiver.requests) == 61
    assert not Delivery.objects.pending().exists()


def test_killed_sender_repeats_its_batch_once(
    happened: Happened, opened: Delivery, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.enqueue(happened("updated"))

    def die(*args: Any) -> bool:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(outcomes, "record", die)
        with pytest.raises(SystemExit):
            sending.deliver(opened.channel_id, NOW)
    sending.deliver(opened.channel_id, NOW + timedelta(seconds=59))
    assert len(receiver.requests) == 2
    sending.deliver(opened.channel_id, NOW + timedelta(seconds=60))
    ids = [request.headers["webhook-id"] for request in receiver.requests]
    assert len(ids) == 4
    assert ids[:2] == ids[2:]
    assert not Delivery.objects.pending().exists()


def test_turn_ends_before_its_lease(
    happened: Happened, opened: Delivery, receiver: Receiver, woken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow receiver: what doesn't fit into a turn is left, and counts no attempt."""
    outbox.enqueue(happened("updated"))
    monkeypatch.setattr(sending, "TURN", timedelta(0))
    monkeypatch.setattr(sending, "MAX_TURNS", timedelta(0))
    sending.deliver(opened.channel_id, NOW)
    assert receiver.requests == []
    assert woken == [opened.channel_id]
    assert set(Delivery.objects.values_list("state", "attempts", "lease_until")) == {(State.PENDING, 0, None)}
    assert fresh(opened.channel).lease_until is None


def test_disabling_stops_a_batch(
    happened: Happened, opened: Delivery, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person disables the channel while it is being sent to."""
    outbox.enqueue(happened("updated"))
    monkeypatch.setattr(sending, "RECORD_EVERY", timedelta(microseconds=1))
    send = channels.webhook.send

    def disable_and_send(config: Any, message: Any) -> None:
        Channel.objects.update(enabled=False)
        send(config, message)

    monkeypatch.setattr(channels.webhook, "send", disable_and_send)
    sending.deliver(opened.channel_id, NOW)
    assert len(receiver.requests) == 1
    assert list(Delivery.objects.order_by("pk").values_list("state", flat=True)) == [State.SENT, State.SKIPPED]


def test_rejected_message_holds_up_no_other(opened: Delivery, receiver: Receiver) -> None:
    """The receiver fails for one incident only."""
    other = another(opened)
    bad = f'"incident":{{"id":{opened.event.incident_id},'.encode()  # type: ignore[union-attr]

    def answer(peer: Any) -> None:
        responds("500 Oops" if bad in receiver.requests[-1].body else "200 OK")(peer)

    receiver.answer = answer
    sending.deliver(opened.channel_id, NOW)
    sending.deliver(opened.channel_id, NOW + timedelta(seconds=60))
    assert fresh(other).state == State.SENT
    assert fresh(opened).state == State.PENDING
