"""Celery tasks. Each finds its work in the database and is safe to run any number of times."""

from threading import BoundedSemaphore
from typing import Final

from celery import shared_task
from django.utils import timezone

from alerts import outbox, sending

# A worker has 16 threads, and hanging channels must leave some for the detector. The relay retries what finds no slot.
SLOTS: Final = BoundedSemaphore(12)


@shared_task(name="alerts.deliver")
def deliver(delivery_id: int) -> None:
    if not SLOTS.acquire(blocking=False):
        return
    try:
        sending.deliver(delivery_id, timezone.now())
    finally:
        SLOTS.release()


@shared_task(name="alerts.relay")
def relay() -> None:
    outbox.relay(timezone.now())
