"""The knocks on the door: each finds its work in the database and may run any number of times."""

from celery import shared_task
from django.utils import timezone

from alerts import outbox, sending


@shared_task(name="alerts.deliver")
def deliver(delivery_id: int) -> None:
    sending.deliver(delivery_id, timezone.now())


@shared_task(name="alerts.relay")
def relay() -> None:
    outbox.relay(timezone.now())
