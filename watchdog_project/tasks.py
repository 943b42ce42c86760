"""The Celery tasks of the whole installation."""

from celery import shared_task
from django.utils import timezone

from watchdog_project import audit_stream


@shared_task(name="watchdog_project.stream_audit_log")
def stream_audit_log() -> None:
    """Until nothing is left; a backlog of a day takes one run."""
    while audit_stream.send_new(timezone.now()):
        pass
