"""The knocks on the door: each finds its work in the database and may run any number of times."""

from threading import BoundedSemaphore
from typing import Final

from celery import shared_task
from django.utils import timezone

from alerts import outbox, sending

# A worker has 16 threads. Channels that hang must leave some to the sweep; what finds no room the relay brings again.
ROOM: Final = BoundedSemaphore(12)


@shared_task(name="alerts.deliver")
def deliver(delivery_id: int) -> None:
    if not ROOM.acquire(blocking=False):
        return
    try:
        sending.deliver(delivery_id, timezone.now())
    finally:
        ROOM.release()


@shared_task(name="alerts.relay")
def relay() -> None:
    outbox.relay(timezone.now())
