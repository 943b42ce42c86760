"""Celery's side: the names others call by, and that they do the work."""

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
def test_a_task_is_known_by_its_name(name: str) -> None:
    current_app.loader.import_default_modules()
    assert name in current_app.tasks


def test_the_relay_is_on_the_schedule() -> None:
    assert "alerts.relay" in {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}


def test_a_task_delivers(email: Channel, happened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "knock", lambda ids: [tasks.deliver(pk) for pk in ids])
    outbox.enqueue(happened("opened"))
    tasks.relay()
    assert email.deliveries.get().state == Delivery.State.SENT
    assert [told.subject for told in mail.outbox] == ["bot-1 is down"]


def test_deliveries_leave_room_for_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes while twelve are being sent is left to the relay, and the next one after that is sent again."""
    sent: list[int] = []
    monkeypatch.setattr(sending, "deliver", lambda delivery_id, now: sent.append(delivery_id))
    with ExitStack() as hanging:
        for _ in range(12):
            hanging.enter_context(tasks.ROOM)
        tasks.deliver(1)
    tasks.deliver(2)
    assert sent == [2]
