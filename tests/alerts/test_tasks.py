"""The Celery tasks: their names, and that they do the work."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from celery import current_app
from django.conf import settings
from django.core import mail

from alerts import escalations, outbox, sending, tasks
from alerts.models import Channel, Delivery
from tests.alerts.conftest import NOW


@pytest.mark.parametrize("name", ["alerts.deliver", "alerts.relay", "alerts.notify_owners"])
def test_tasks_are_registered_by_name(name: str) -> None:
    current_app.loader.import_default_modules()
    assert name in current_app.tasks


@pytest.mark.parametrize("name", ["alerts.relay", "alerts.notify_owners"])
def test_tasks_are_scheduled(name: str) -> None:
    assert name in {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}


def test_task_delivers(email: Channel, happened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "wake", lambda ids: [tasks.deliver(pk) for pk in ids])
    outbox.enqueue(happened("opened"))
    tasks.relay()
    assert email.deliveries.get().state == Delivery.State.SENT
    assert [sent.subject for sent in mail.outbox] == ["bot-1 is down"]


@pytest.fixture
def delivered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    delivered: list[int] = []
    monkeypatch.setattr(sending, "deliver", lambda channel_id, now: delivered.append(channel_id))
    return delivered


def test_deliveries_leave_threads_for_other_work(email: Channel, delivered: list[int]) -> None:
    """While ten channels are being sent to, further ones are left to the relay."""
    with ExitStack() as hanging:
        for _ in range(10):
            hanging.enter_context(tasks.SLOTS)
        tasks.deliver(email.pk)
        assert delivered == []
    tasks.deliver(email.pk)
    assert delivered == [email.pk]


def test_failing_channels_leave_slots_for_others(email: Channel, webhook: Channel, delivered: list[int]) -> None:
    Channel.objects.filter(pk=webhook.pk).update(failing_since=NOW)
    with ExitStack() as hanging:
        for _ in range(3):
            hanging.enter_context(tasks.FAILING_SLOTS)
        tasks.deliver(webhook.pk)
        tasks.deliver(email.pk)
    assert delivered == [email.pk]


def test_one_relay_runs_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[object] = []

    def run(now: object) -> None:
        runs.append(now)
        tasks.relay()

    monkeypatch.setattr(outbox, "relay", run)
    monkeypatch.setattr(escalations, "sweep", lambda now: None)
    tasks.relay()
    assert len(runs) == 1
    tasks.relay()
    assert len(runs) == 2
