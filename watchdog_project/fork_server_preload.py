"""Imported once by the fork server: everything that web, worker and beat need. No threads, no connections."""

import gc

from watchdog_project import fork_server

fork_server.leave_stopping_to_supervisor()

import django  # noqa: E402 - signals first: loading takes a second

django.setup()

import granian  # noqa: E402, F401
from django.urls import get_resolver  # noqa: E402 - these imports read the settings

from watchdog_project.celery import app  # noqa: E402

app.loader.import_default_modules()
_ = get_resolver().url_patterns
# The processes only read these objects: a collection must not write to their pages, which would copy them.
gc.collect()
gc.freeze()
