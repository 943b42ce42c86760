"""Each recipient of a channel counts on their own, against a real SMTP server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core import mail

from agents.models import Incident, IncidentEvent
from alerts import outbox, owner_notices, sending, services
from alerts.models import Channel, Delivery
from teams.models import Project, User
from tests.alerts.channels.test_email import Sink, sink  # noqa: F401 - a fixture
from tests.alerts.conftest import NOW

Happened = Callable[..., IncidentEvent]
State = Delivery.State
GOOD, GONE, GREY = "good@example.com", "gone@example.com", "grey@example.com"


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alerts.wakeup.wake", lambda ids: None)
    monkeypatch.setattr("random.random", lambda: 0.0)


@pytest.fixture
def channel(project: Project, sink: Sink) -> Channel:  # noqa: F811
    sink.refuses = {GONE: "550 5.1.1 unknown user", GREY: "450 4.2.0 greylisted"}
    return Channel.objects.create(project=project, kind="email", name="oncall", config={"to": [GOOD, GONE, GREY]})


def states(channel: Channel) -> dict[str, str]:
    return {row.recipient: row.state for row in channel.deliveries.order_by("pk")}


def test_each_recipient_succeeds_or_fails_alone(happened: Happened, channel: Channel, sink: Sink) -> None:  # noqa: F811
    outbox.enqueue(happened("opened"))
    sending.deliver(channel.pk, NOW)
    assert states(channel) == {GOOD: State.SENT, GONE: State.FAILED, GREY: State.PENDING}
    assert sink.taken == [GOOD]
    assert channel.deliveries.get(recipient=GONE).last_error == "The mail server refused gone@example.com (550)."
    sink.refuses = {GONE: "550 5.1.1 unknown user"}
    sending.deliver(channel.pk, NOW + timedelta(minutes=1))
    assert states(channel)[GREY] == State.SENT
    assert sink.taken == [GOOD, GREY]


def test_deferred_recipient_holds_up_nobody(happened: Happened, channel: Channel, sink: Sink) -> None:  # noqa: F811
    for kind in ("opened", "updated"):
        outbox.enqueue(happened(kind))
        sending.deliver(channel.pk, NOW)
    assert sink.taken == [GOOD, GOOD]
    channel.refresh_from_db()
    assert (channel.failing_since, channel.retry_at) == (None, None)
    sink.refuses = {}
    sending.deliver(channel.pk, NOW + timedelta(minutes=1))
    assert sink.taken == [GOOD, GOOD, GREY, GREY]


def test_refusal_is_shown_and_owners_notified_once(
    happened: Happened,
    channel: Channel,
    sink: Sink,  # noqa: F811
    owner: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mails: list[tuple[str, str]] = []

    def notify(team: object, subject: str, text: str) -> bool:
        mails.append((subject, text))
        return True

    monkeypatch.setattr(owner_notices, "notify_owners", notify)
    for kind in ("opened", "updated"):
        outbox.enqueue(happened(kind))
        sending.deliver(channel.pk, NOW)
        owner_notices.send_due()
    channel.refresh_from_db()
    assert channel.refused == {GONE: "The mail server refused gone@example.com (550)."}
    ((subject, text),) = mails
    assert subject == "Channel oncall loses alerts"
    assert "gone@example.com (550)" in text
    assert GREY not in text


def test_refusal_ends_when_a_mail_is_taken(happened: Happened, channel: Channel, sink: Sink) -> None:  # noqa: F811
    outbox.enqueue(happened("opened"))
    sending.deliver(channel.pk, NOW)
    sink.refuses = {}
    outbox.enqueue(happened("updated"))
    sending.deliver(channel.pk, NOW)
    channel.refresh_from_db()
    assert channel.refused == {}


def test_recovery_follows_each_recipients_failure(
    happened: Happened,
    channel: Channel,
    sink: Sink,  # noqa: F811
) -> None:
    """Who was not told of the failure is not told of the recovery."""
    outbox.enqueue(happened("opened"))
    sending.deliver(channel.pk, NOW)
    outbox.enqueue(happened("resolved"))
    recovery = channel.deliveries.filter(event__kind="resolved").order_by("pk")
    assert [row.recipient for row in recovery] == [GOOD, GREY]


def test_recovery_reaches_whom_one_mail_told(happened: Happened, channel: Channel) -> None:
    """Written before each recipient had a row."""
    Delivery.objects.create(
        event=happened("opened"), channel=channel, message_id="msg_1", state=State.SENT, created_at=NOW
    )
    outbox.enqueue(happened("resolved"))
    assert channel.deliveries.filter(event__kind="resolved").count() == 3


def test_removed_recipient_gets_nothing_more(happened: Happened, channel: Channel, sink: Sink) -> None:  # noqa: F811
    outbox.enqueue(happened("opened"))
    sending.deliver(channel.pk, NOW)
    services.change_channel(channel=channel, actor="a@example.com", now=NOW, config={"to": [GOOD, "new@example.com"]})
    assert states(channel)[GREY] == State.SKIPPED
    channel.refresh_from_db()
    assert channel.refused == {}


def test_reopening_is_silent_per_recipient(
    happened: Happened,
    channel: Channel,
    incident: Incident,
    sink: Sink,  # noqa: F811
) -> None:
    """Whoever has not seen the recovery needs no reopening; whoever has, does."""
    sink.refuses = {}
    for kind in ("opened", "resolved"):
        outbox.enqueue(happened(kind))
    sink.refuses = {GREY: "450 later"}
    sending.deliver(channel.pk, NOW)
    incident.reopened = 1
    incident.save()
    outbox.enqueue(happened("reopened"))
    reopened = channel.deliveries.filter(event__kind="reopened").order_by("pk")
    assert [row.recipient for row in reopened] == [GOOD, GONE]


def test_owners_learn_of_a_lost_alert_once(happened: Happened, channel: Channel, owner: User, sink: Sink) -> None:  # noqa: F811
    """A message that no retry can deliver, on a channel that fails for everybody."""
    sink.refusal = ("DATA", "554 looks like spam")
    for kind in ("opened", "updated"):
        outbox.enqueue(happened(kind))
        sending.deliver(channel.pk, NOW)
    channel.refresh_from_db()
    assert "554" in channel.owner_notice
    assert channel.owner_notice.count("554") == 1


def test_notice_waits_for_a_mail_server(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    Channel.objects.update(owner_notice="It is broken.")
    monkeypatch.setattr(owner_notices, "notify_owners", lambda team, subject, text: False)
    owner_notices.send_due()
    channel.refresh_from_db()
    assert channel.owner_notice == "It is broken."
    monkeypatch.setattr(owner_notices, "notify_owners", lambda team, subject, text: True)
    owner_notices.send_due()
    channel.refresh_from_db()
    assert channel.owner_notice == ""
    assert mail.outbox == []
