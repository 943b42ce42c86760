"""Claiming, sending, settling: one at a time in a channel, in order, and never lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection, transaction

from agents.models import Incident, IncidentEvent
from alerts import channels, outbox, sending
from alerts.channels.base import ChannelError
from alerts.models import Channel, Delivery
from teams.models import Project, User
from tests.alerts.conftest import NOW
from tests.alerts.receiver import Receiver, says, waits

Happened = Callable[..., IncidentEvent]
State = Delivery.State


@pytest.fixture(autouse=True)
def knocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    heard: list[int] = []
    monkeypatch.setattr(sending, "knock", heard.extend)
    monkeypatch.setattr(outbox, "knock", lambda ids: None)
    monkeypatch.setattr("random.random", lambda: 0.0)
    return heard


@pytest.fixture
def opened(happened: Happened, webhook: Channel) -> Delivery:
    outbox.enqueue(happened("opened"))
    return webhook.deliveries.get()


def fresh(row: Any) -> Any:
    row.refresh_from_db()
    return row


def close_to(at: Any, expected: Any) -> bool:
    return bool(abs(at - expected) < timedelta(seconds=3))


def test_a_delivery_is_sent_once(opened: Delivery, receiver: Receiver) -> None:
    sending.deliver(opened.pk, NOW)
    sending.deliver(opened.pk, NOW + timedelta(hours=1))
    assert len(receiver.requests) == 1
    assert fresh(opened).state == State.SENT
    assert opened.attempts == 1
    assert opened.lease_until is None
    assert close_to(opened.sent_at, NOW)
    assert close_to(fresh(opened.channel).last_sent_at, NOW)


def test_a_delivery_that_does_not_exist_any_more_is_no_trouble(db: None) -> None:
    sending.deliver(4711, NOW)


@pytest.mark.django_db(transaction=True)
def test_of_two_workers_that_compete_one_sends(opened: Delivery, receiver: Receiver) -> None:
    ready = threading.Barrier(4)

    def work() -> None:
        ready.wait()
        sending.deliver(opened.pk, NOW)
        connection.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(receiver.requests) == 1
    assert fresh(opened).attempts == 1


def test_a_claim_lasts_as_long_as_its_lease(opened: Delivery) -> None:
    assert sending.claim(opened.pk, NOW) is not None
    assert sending.claim(opened.pk, NOW + timedelta(seconds=59)) is None
    again = sending.claim(opened.pk, NOW + timedelta(seconds=60))
    assert again is not None
    assert again.attempts == 2
    assert again.message_id == opened.message_id


def test_a_sender_whose_lease_ran_out_does_not_overwrite_its_successor(opened: Delivery) -> None:
    slow = sending.claim(opened.pk, NOW)
    quick = sending.claim(opened.pk, NOW + timedelta(seconds=61))
    assert slow is not None
    assert quick is not None
    sending.settle(quick, None, NOW + timedelta(seconds=62))
    sending.settle(slow, ChannelError("late"), NOW + timedelta(seconds=63))
    assert fresh(opened).state == State.SENT
    assert opened.last_error == ""


def test_a_sender_whose_lease_ran_out_does_not_take_the_lease_from_its_successor(opened: Delivery) -> None:
    slow = sending.claim(opened.pk, NOW)
    quick = sending.claim(opened.pk, NOW + timedelta(seconds=61))
    assert slow is not None
    assert quick is not None
    sending.settle(slow, ChannelError("late"), NOW + timedelta(seconds=62))
    assert fresh(opened).lease_until == quick.lease_until
    assert opened.last_error == ""
    sending.settle(quick, None, NOW + timedelta(seconds=63))
    assert fresh(opened).state == State.SENT


def test_a_sender_that_comes_back_late_but_unreplaced_has_its_word(opened: Delivery) -> None:
    slow = sending.claim(opened.pk, NOW)
    assert slow is not None
    sending.settle(slow, None, NOW + timedelta(seconds=90))
    assert fresh(opened).state == State.SENT


def test_events_of_an_incident_arrive_in_their_order(
    happened: Happened, opened: Delivery, webhook: Channel, receiver: Receiver, knocks: list[int]
) -> None:
    outbox.enqueue(happened("updated"))
    second = webhook.deliveries.get(event__kind="updated")
    sending.deliver(second.pk, NOW)
    assert receiver.requests == []
    sending.deliver(opened.pk, NOW)
    assert knocks == [second.pk]
    sending.deliver(second.pk, NOW)
    assert [b'"incident.opened"' in receiver.requests[0].body, b'"incident.updated"' in receiver.requests[1].body] == [
        True,
        True,
    ]


def test_a_channel_has_one_delivery_in_flight(happened: Happened, opened: Delivery, incident: Incident) -> None:
    Incident.objects.filter(pk=incident.pk).update(resolved_at=NOW)
    other = Incident.objects.create(
        project=incident.project, agent=incident.agent, kind="loop", severity="warning", reason="r",
        started_at=NOW, opened_at=NOW,
    )  # fmt: skip
    outbox.enqueue(IncidentEvent.objects.create(incident=other, kind="opened", at=NOW, text="loop"))
    second = Delivery.objects.get(event__incident=other)
    first = sending.claim(opened.pk, NOW)
    assert first is not None
    assert sending.claim(second.pk, NOW) is None
    sending.settle(first, None, NOW)
    assert sending.claim(second.pk, NOW) is not None


def test_a_failed_attempt_is_tried_again_later_and_then_arrives(opened: Delivery, receiver: Receiver) -> None:
    receiver.answer = says("500 Oops")
    sending.deliver(opened.pk, NOW)
    assert fresh(opened).state == State.PENDING
    assert close_to(opened.next_try_at, NOW + timedelta(seconds=5))
    assert opened.last_error == fresh(opened.channel).last_error == "The receiver answered 500."
    assert opened.channel.failing_since
    receiver.answer = says("200 OK")
    sending.deliver(opened.pk, NOW + timedelta(seconds=1))
    assert len(receiver.requests) == 1
    sending.deliver(opened.pk, NOW + timedelta(seconds=10))
    assert fresh(opened).state == State.SENT
    assert fresh(opened.channel).failing_since is None
    assert opened.channel.last_error == ""
    ids = {request.headers["webhook-id"] for request in receiver.requests}
    assert ids == {opened.message_id}


def test_a_receiver_that_asks_for_patience_gets_it(opened: Delivery, receiver: Receiver) -> None:
    receiver.answer = says("429 Slow down", b"", "Retry-After: 600")
    sending.deliver(opened.pk, NOW)
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


def test_the_other_deliveries_of_a_failing_channel_wait_with_it(opened: Delivery, receiver: Receiver) -> None:
    receiver.answer = says("500 Oops")
    other = another(opened)
    sending.deliver(opened.pk, NOW)
    sending.deliver(other.pk, NOW + timedelta(seconds=1))
    assert len(receiver.requests) == 1
    sending.deliver(other.pk, NOW + timedelta(seconds=10))
    assert len(receiver.requests) == 2
    assert fresh(opened.channel).failures == 2
    assert close_to(opened.channel.retry_at, NOW + timedelta(seconds=40))


def test_when_a_channel_works_again_what_waited_goes_at_once(
    opened: Delivery, receiver: Receiver, knocks: list[int]
) -> None:
    receiver.answer = says("500 Oops")
    other = another(opened)
    Delivery.objects.filter(pk=opened.pk).update(attempts=7)
    sending.deliver(opened.pk, NOW)
    assert fresh(opened).next_try_at > NOW + timedelta(hours=3)
    receiver.answer = says("200 OK")
    sending.deliver(other.pk, NOW + timedelta(seconds=10))
    assert fresh(opened).next_try_at < NOW + timedelta(seconds=15)
    assert knocks == [opened.pk]


def test_a_channel_that_works_again_does_not_hurry_a_recovery_that_settles(
    happened: Happened, opened: Delivery, incident: Incident, receiver: Receiver
) -> None:
    incident.reopened = 1
    incident.save()
    outbox.enqueue(happened("resolved"))
    Channel.objects.update(failing_since=NOW)
    sending.deliver(opened.pk, NOW)
    assert opened.channel.deliveries.get(event__kind="resolved").next_try_at == NOW + timedelta(minutes=5)


def test_one_dead_channel_delays_no_other(
    happened: Happened, project: Project, opened: Delivery, receiver: Receiver
) -> None:
    with Receiver() as second:
        config = {**opened.channel.config, "url": second.url("/hook")}
        channel = Channel.objects.create(project=project, kind="webhook", name="live", config=config)
        outbox.enqueue(happened("updated"))
        assert sending.claim(opened.pk, NOW) is not None  # and there it hangs
        sending.deliver(channel.deliveries.get().pk, NOW)
        assert len(second.requests) == 1


def test_what_cannot_be_delivered_fails_at_once_and_shows_why(opened: Delivery, receiver: Receiver) -> None:
    Channel.objects.update(config={"url": "ftp://nowhere", "secret": "whsec_abcd"})
    sending.deliver(opened.pk, NOW)
    assert fresh(opened).state == State.FAILED
    assert "must begin with" in opened.last_error
    assert "must begin with" in fresh(opened.channel).last_error
    assert opened.channel.enabled
    assert opened.channel.retry_at is None


def test_after_a_day_it_is_given_up_and_the_channel_says_why(opened: Delivery, receiver: Receiver) -> None:
    receiver.answer = says("500 Oops")
    Delivery.objects.update(attempts=12)
    sending.deliver(opened.pk, NOW + timedelta(hours=23))
    assert fresh(opened).state == State.FAILED
    assert opened.last_error == "Given up after 24 hours: The receiver answered 500."
    assert fresh(opened.channel).failing_since


def test_410_switches_the_channel_off_skips_what_waits_and_tells_the_owners_once(
    opened: Delivery, receiver: Receiver, owner: User, member: User
) -> None:
    receiver.answer = says("410 Gone")
    other = another(opened)
    sending.deliver(opened.pk, NOW)
    assert fresh(opened).state == State.FAILED
    assert fresh(other).state == State.SKIPPED
    assert not fresh(opened.channel).enabled
    assert "410" in opened.channel.disabled_reason
    (told,) = mail.outbox
    assert told.to == [owner.email]
    assert "switched off" in told.subject
    assert "410" in told.body
    assert opened.channel.config["url"] not in told.body


def test_a_channel_that_is_off_is_not_written_to(happened: Happened, opened: Delivery, receiver: Receiver) -> None:
    Channel.objects.update(enabled=False)
    sending.deliver(opened.pk, NOW)
    assert receiver.requests == []


def test_an_unforeseen_error_is_tried_again_and_keeps_its_words_to_itself(
    opened: Delivery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(config: Any, message: Any) -> None:
        raise KeyError(config.secret)

    monkeypatch.setattr(channels.webhook, "send", broken)
    sending.deliver(opened.pk, NOW)
    assert fresh(opened).state == State.PENDING
    secret = opened.channel.config["secret"]
    assert secret not in opened.last_error
    assert secret not in caplog.text
    assert "KeyError" in caplog.text


def test_a_withdrawn_recovery_is_not_sent(
    happened: Happened, opened: Delivery, incident: Incident, receiver: Receiver
) -> None:
    sending.deliver(opened.pk, NOW)
    outbox.enqueue(happened("resolved"))
    recovery = opened.channel.deliveries.get(event__kind="resolved")
    incident.reopened = 1
    incident.save()
    outbox.enqueue(happened("reopened"))
    sending.deliver(recovery.pk, NOW)
    assert len(receiver.requests) == 1
    assert fresh(recovery).state == State.SKIPPED


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_a_channel_hangs(
    opened: Delivery, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answer = waits(receiver)

    def work() -> None:
        sending.deliver(opened.pk, NOW)
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
def test_many_workers_empty_many_channels_in_order_and_each_message_arrives_once(
    project: Project, happened: Happened, open_door: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers knock at random; whatever they do to each other, nothing is doubled or overtaken.

    SQLite has one writer, and lets it wait for its turn without any order: three that never pause starve each other.
    """
    sent: dict[str, list[int]] = {}

    def note(config: Any, told: Any) -> None:
        sent.setdefault(config.to[0], []).append(Delivery.objects.get(message_id=told.id).pk)

    monkeypatch.setattr(channels.email, "send", note)
    for number in range(3):
        config = {"to": [f"a{number}@example.com"]}
        Channel.objects.create(project=project, kind="email", name=str(number), config=config)
    for _ in range(6):
        outbox.enqueue(happened("updated"))
    rows = list(Delivery.objects.values_list("pk", flat=True))
    troubles: list[Exception] = []

    def work(order: list[int]) -> None:
        try:
            while Delivery.objects.pending().exists() and not troubles:
                for pk in order:
                    sending.deliver(pk, NOW)
        except Exception as error:
            troubles.append(error)
        finally:
            connection.close()

    orders = [rows, rows[::-1], rows[::2] + rows[1::2]]
    workers = [threading.Thread(target=work, args=[order]) for order in orders]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert troubles == []
    assert all(pks == sorted(pks) and len(pks) == 6 for pks in sent.values())
    assert len(sent) == 3


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_recovery_withdrawn_while_it_is_being_claimed_is_not_sent(
    opened: Delivery, happened: Happened, incident: Incident, receiver: Receiver
) -> None:
    """The reopening's transaction has withdrawn the recovery but not committed yet when a worker claims it.

    On SQLite the worker waits for the whole transaction anyway.
    """
    sending.deliver(opened.pk, NOW)
    outbox.enqueue(happened("resolved"))
    recovery = opened.channel.deliveries.get(event__kind="resolved")
    Incident.objects.update(reopened=1)
    claims: list[Any] = []

    def claim() -> None:
        claims.append(sending.claim(recovery.pk, NOW))
        connection.close()

    worker = threading.Thread(target=claim)
    with transaction.atomic():
        outbox.enqueue(happened("reopened"))
        worker.start()
        worker.join(0.5)
        assert worker.is_alive()
    worker.join(60)
    assert claims == [None]
    assert fresh(recovery).state == State.SKIPPED


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_two_claims_in_one_channel_at_the_same_moment_give_one_lease(opened: Delivery) -> None:
    """The first claim is not committed yet when a worker claims another delivery of the same channel."""
    other = another(opened)
    claims: list[Any] = []

    def claim() -> None:
        claims.append(sending.claim(other.pk, NOW))
        connection.close()

    worker = threading.Thread(target=claim)
    with transaction.atomic():
        assert sending.claim(opened.pk, NOW) is not None
        worker.start()
        worker.join(0.5)
        assert worker.is_alive()
    worker.join(60)
    assert claims == [None]
