"""Whether the server is up (`/healthz`) and able to do its work (`/readyz`), and the web's sign of life."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone

from agents.models import Pulse
from agents.storage import outage_log
from watchdog_project.celery import app as celery

DETECTOR_SILENCE = 10.0
log = logging.getLogger(__name__)


class HealthMiddleware:
    """Answers before hosts, sessions and sign-in are looked at: a probe may call us by any name."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info == "/healthz":
            return HttpResponse("ok\n", content_type="text/plain")
        if request.path_info == "/readyz":
            return ready()
        return self.get_response(request)


def ready() -> JsonResponse:
    """200 when database, broker and detector work, else 503; each part says `ok` or what is wrong with it."""
    said = parts()
    answer = JsonResponse(said, status=200 if set(said.values()) == {"ok"} else 503)
    answer._has_been_logged = True  # type: ignore[attr-defined] # a probe's 503 is an answer, not an error of ours
    return answer


def parts() -> dict[str, str]:
    """Each part, and `ok` or what is wrong with it."""
    detector = database = _database()
    if database == "ok":
        detector = _detector()
    return {"database": database, "broker": _broker(), "detector": detector}


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        return f"does not answer ({type(error).__name__})"
    return "ok"


def _detector() -> str:
    try:
        at = Pulse.objects.filter(name=outage_log.DETECTOR).values_list("at", flat=True).first()
    except DatabaseError as error:
        return f"unknown ({type(error).__name__})"
    if at is None:
        return "has not run yet"
    age = (timezone.now() - at).total_seconds()
    return "ok" if age <= DETECTOR_SILENCE else f"last ran {age:.0f} s ago"


def _broker() -> str:
    try:
        with celery.connection_for_write() as line:
            line.ensure_connection(max_retries=0, timeout=2)
    except Exception as error:  # each kind of broker has errors of its own
        return f"does not answer ({type(error).__name__})"
    return "ok"


def queued(queues: list[str]) -> dict[str, int] | None:
    """How many tasks wait in each queue; None when the broker does not say."""
    try:
        with celery.connection_for_write() as line:
            line.ensure_connection(max_retries=0, timeout=2)
            # A queue of a Redis is a list by its name, and none when it is empty.
            channel: Any = line.default_channel
            return {name: int(channel.client.llen(name)) for name in queues}
    except Exception:  # another kind of broker, or none that answers
        return None


def start_edge_pulse() -> None:
    """Begin to note, every `EDGE_PULSE_SECONDS`, that this web process is there; in forked children too."""
    if settings.EDGE_PULSE_SECONDS > 0:
        threading.Thread(target=_beat_forever, name="edge-pulse", daemon=True).start()
        if not getattr(start_edge_pulse, "in_children", False):
            start_edge_pulse.in_children = True  # type: ignore[attr-defined]
            os.register_at_fork(after_in_child=start_edge_pulse)


def _beat_forever() -> None:
    while True:
        try:
            note_edge()
        except Exception as error:  # the next one may work; a missing one says what is true
            log.warning("The web's sign of life could not be written: %s", error)
            connection.close()
        time.sleep(settings.EDGE_PULSE_SECONDS)


def note_edge() -> None:
    """Say that this web process takes heartbeats."""
    outage_log.tick(outage_log.EDGE, timezone.now())
