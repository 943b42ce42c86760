"""The Celery application. Due work is recorded in the database: a sweep picks up what the broker lost."""

import gc
import os
import sys
from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_init, worker_ready
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "watchdog_project.settings")

app = Celery("watchdog_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect
@beat_init.connect
def _refuse_unsafe_start(**_: Any) -> None:
    from watchdog_project.checks import refuse_unsafe_start

    try:
        refuse_unsafe_start()
    except ImproperlyConfigured as error:
        sys.exit(str(error))  # Celery would log any other exception and carry on


@worker_ready.connect
def _freeze(**_: Any) -> None:
    """What is loaded now stays: without this, each full collection would look through all of it."""
    gc.collect()
    gc.freeze()
