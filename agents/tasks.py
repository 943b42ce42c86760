"""The Celery tasks of the detector. Thin: the database holds what is due, so a lost task loses nothing."""

from datetime import datetime
from threading import Event, Lock
from typing import Final

from celery import shared_task
from django.utils import timezone

from agents.commands import dispatch
from agents.doors import memory
from agents.fleet import maintenance, pauses, quota
from agents.incidents import snoozes
from agents.review import review
from agents.storage import purge, rollups, stored_bytes
from agents.storage.retention import forget_old

# Sweeps of several processes share the work. A second one in the same process, which shares its interpreter, would only
# hold rows for longer.
_SWEEPING: Final = Lock()
# Set by ticks, also during a sweep: the next one then follows at once.
_WANTED: Final = Event()


@shared_task(name="agents.sweep")
def sweep() -> None:
    _WANTED.set()
    if not _SWEEPING.acquire(blocking=False):
        return
    try:
        while _WANTED.is_set():
            _WANTED.clear()
            _sweep(timezone.now())
    finally:
        _SWEEPING.release()


def _sweep(now: datetime) -> None:
    maintenance.apply_schedule(now)
    pauses.end_due(now)
    snoozes.end_due(now)
    review.sweep(now)
    dispatch.expire(now)


@shared_task(name="agents.rollup")
def rollup() -> None:
    now = timezone.now()
    rollups.roll_up(now)
    stored_bytes.count(now)


@shared_task(name="agents.retention")
def retention() -> None:
    now = timezone.now()
    dispatch.forget_runners(now)
    quota.settle_all(now)
    forget_old(now)
    memory.forget_old(now)


@shared_task(name="agents.clear_away")
def clear_away() -> None:
    purge.clear_away()
