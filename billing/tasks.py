"""Celery's door to refusals."""

from celery import shared_task
from django.utils import timezone

from billing import refusals


@shared_task(name="billing.refusals")
def tell_of_refusals() -> None:
    now = timezone.now()
    refusals.tell(now)
    refusals.forget(now)
