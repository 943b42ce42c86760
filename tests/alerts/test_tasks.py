"""The Celery tasks: their names, and that they do the work."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from celery import current_app
from django.conf import settings
from django.core import mail

from alerts import outbox, sending, tasks
from alerts.models import Channel, Delivery


@pytest.mark.parametrize("name", ["alerts.deliver", "alerts.relay"])
def test_tasks_are_registered_by_name(name: str) -> None:
    current_app.loader.import_default_modules()
    assert name in current_app.tasks


def test_relay_is_scheduled() -> None:
    assert "alerts.relay" in {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}


def test_task_delivers(email: Channel, happened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "wake", lambda ids: [tasks.deliver(pk) for pk in ids])
    outbox.enqueue(happened("opened"))
    tasks.relay()
    assert email.deliveries.get().state == Delivery.State.SENT
    assert [sent.subject for sent in mail.outbox] == ["bot-1 is down"]


def test_deliveries_leave_threads_for_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """While twelve deliveries are being sent, further ones are left to the relay."""
    sent: list[int] = []
    monkeypatch.setattr(sending, "deliver", lambda delivery_id, now: sent.append(delivery_id))
    with ExitStack() as hanging:
        for _ in range(12):
            hanging.enter_context(tasks.SLOTS)
        tasks.deliver(1)
    tasks.deliver(2)
    assert sent == [2]
