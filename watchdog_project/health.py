"""Health probes: `/healthz` (the process is up), `/readyz` (it can do its work); and the web process's pulse."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone

from agents.domain.clocks import Span
from agents.ingest import load
from agents.models import Pulse
from agents.storage import outage_log
from watchdog_project.celery import app as celery

MAX_DETECTOR_AGE = 10.0  # seconds
log = logging.getLogger(__name__)
_last_pulse: datetime | None = None


class HealthMiddleware:
    """Answers before hosts, sessions and sign-in are checked: a probe may use any host name."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info == "/healthz":
            return HttpResponse("ok\n", content_type="text/plain")
        if request.path_info == "/readyz":
            return ready()
        return self.get_response(request)


def ready() -> JsonResponse:
    """200 if database, broker and detector work, else 503; each component is `ok` or says what is wrong."""
    states = components()
    response = JsonResponse(states, status=200 if set(states.values()) == {"ok"} else 503)
    response._has_been_logged = True  # type: ignore[attr-defined] # a probe's 503 is no error: keep it out of the log
    return response


def components() -> dict[str, str]:
    """Component -> `ok`, or what is wrong with it."""
    detector = database = _database()
    if database == "ok":
        detector = _detector()
    return {"database": database, "broker": _broker(), "detector": detector}


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        return f"not responding ({type(error).__name__})"
    return "ok"


def _detector() -> str:
    try:
        at = Pulse.objects.filter(name=outage_log.DETECTOR).values_list("at", flat=True).first()
    except DatabaseError as error:
        return f"unknown ({type(error).__name__})"
    if at is None:
        return "has not run yet"
    age = (timezone.now() - at).total_seconds()
    return "ok" if age <= MAX_DETECTOR_AGE else f"last ran {age:.0f} s ago"


def _broker() -> str:
    try:
        with celery.connection_for_write() as link:
            link.ensure_connection(max_retries=0, timeout=2)
    except Exception as error:  # every kind of broker raises its own errors
        return f"not responding ({type(error).__name__})"
    return "ok"


def queued(queues: list[str]) -> dict[str, int] | None:
    """Queue -> number of waiting tasks; None if the broker cannot tell."""
    try:
        with celery.connection_for_write() as link:
            link.ensure_connection(max_retries=0, timeout=2)
            # In Redis, a queue is a list of that name, which does not exist while it is empty.
            channel: Any = link.default_channel
            return {name: int(channel.client.llen(name)) for name in queues}
    except Exception:  # not Redis, or not responding
        return None


def start_edge_pulse() -> None:
    """Record every `EDGE_PULSE_SECONDS` that this web process is up; also in forked children."""
    global _last_pulse
    _last_pulse = None
    if settings.EDGE_PULSE_SECONDS > 0:
        threading.Thread(target=_record_pulse_forever, name="edge-pulse", daemon=True).start()
        _restart_in_forked_children()


@cache
def _restart_in_forked_children() -> None:
    """Cached, because children inherit the hook and must not register it again."""
    os.register_at_fork(after_in_child=start_edge_pulse)


def _record_pulse_forever() -> None:
    while True:
        try:
            record_edge_pulse()
        except Exception as error:  # the next one may succeed; a gap correctly shows as an outage
            log.warning("Could not record the web process's pulse: %s", error)
            connection.close()
        time.sleep(settings.EDGE_PULSE_SECONDS)


def record_edge_pulse() -> None:
    """Record that this web process accepts heartbeats, and when it did not keep up."""
    now = timezone.now()
    outage_log.tick(outage_log.EDGE, now)
    _record_gap(now)
    trouble = load.of_this_process.take_trouble(now)
    if trouble is not None:
        try:
            outage_log.record(outage_log.OVERLOAD, trouble)
        except DatabaseError:
            load.of_this_process.give_back(trouble)
            raise


def _record_gap(now: datetime) -> None:
    """Other web processes keep the common pulse alive, so each looks after its own."""
    global _last_pulse
    if _last_pulse is not None and now - _last_pulse > outage_log.OUTAGE_AFTER[outage_log.EDGE]:
        outage_log.record(outage_log.EDGE, Span(_last_pulse, now))
    _last_pulse = now
