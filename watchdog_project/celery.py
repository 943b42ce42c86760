"""The Celery application. The database, not the broker, holds what is due: a lost message is found by a sweep."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "watchdog_project.settings")

app = Celery("watchdog_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
