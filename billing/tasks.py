"""Celery task for rejected agents: notify owners, forget old records."""

from celery import shared_task
from django.utils import timezone

from billing import refusals


@shared_task(name="billing.refusals")
def handle_refusals() -> None:
    now = timezone.now()
    refusals.mail_owners(now)
    refusals.forget_old(now)
