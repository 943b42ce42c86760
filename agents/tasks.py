"""Celery's doors to the detector. Thin: the database holds what is due, a task is only the knock."""

from celery import shared_task
from django.utils import timezone

from agents import clearing, commands, maintenance, places, review, rollups


@shared_task(name="agents.sweep")
def sweep() -> None:
    now = timezone.now()
    maintenance.turn(now)
    review.sweep(now)
    commands.expire(now)


@shared_task(name="agents.rollup")
def rollup() -> None:
    rollups.roll_up(timezone.now())


@shared_task(name="agents.retention")
def retention() -> None:
    now = timezone.now()
    commands.forget_runners(now)
    places.settle_all(now)
    rollups.forget_old(now)


@shared_task(name="agents.clear_away")
def clear_away() -> None:
    clearing.clear_away()
