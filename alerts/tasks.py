"""Celery tasks. Each finds its work in the database and is safe to run any number of times."""

from __future__ import annotations

from threading import BoundedSemaphore, Lock
from typing import Final

from celery import shared_task
from django.utils import timezone

from alerts import escalations, outbox, owner_notices, sending
from alerts.models import Channel

# A worker has 16 threads. Channels that fail, and may hang, can't take the slots of those that work, and all of them
# leave some for the detector. The relay retries what finds no slot.
SLOTS: Final = BoundedSemaphore(10)
FAILING_SLOTS: Final = BoundedSemaphore(3)
# A slow database must not fill the threads with the same work.
_RELAYING: Final = Lock()
_NOTIFYING: Final = Lock()


@shared_task(name="alerts.deliver")
def deliver(channel_id: int) -> None:
    is_failing = Channel.objects.filter(pk=channel_id, failing_since__isnull=False).exists()
    slots = FAILING_SLOTS if is_failing else SLOTS
    if not slots.acquire(blocking=False):
        return
    try:
        sending.deliver(channel_id, timezone.now())
    finally:
        slots.release()


@shared_task(name="alerts.relay")
def relay() -> None:
    if _RELAYING.acquire(blocking=False):
        try:
            now = timezone.now()
            outbox.relay(now)
            escalations.sweep(now)
        finally:
            _RELAYING.release()


@shared_task(name="alerts.notify_owners")
def notify_owners() -> None:
    if _NOTIFYING.acquire(blocking=False):
        try:
            owner_notices.send_due()
        finally:
            _NOTIFYING.release()
