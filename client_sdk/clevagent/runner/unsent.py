"""Delivers what ended agents of the same user and key could not send, such as the goodbye of a script."""

from __future__ import annotations

import logging
import threading
import time

from clevagent import reporter as sending
from clevagent.reporter import ADOPT_EVERY, Reporter
from clevagent.spool import Place
from clevagent.transport import Transport

log = logging.getLogger(__name__)

# Seconds between two requests, even if there is more to send.
MIN_DELAY = 1.0


def courier(place: Place, endpoint: str, api_key: str) -> Reporter:
    """Return a reporter that only sends what it finds in the spool."""
    return sending.courier(Transport(endpoint, api_key), endpoint, place)


def deliver_until(ended: threading.Event, reporter: Reporter) -> None:
    """Deliver whenever there is something, until `ended` is set. Errors are logged and do not end the loop."""
    while not ended.is_set():
        try:
            look_at = reporter.step(time.monotonic(), time.time())
        except Exception:
            log.exception("Could not deliver what agents have not sent")
            look_at = time.monotonic() + ADOPT_EVERY
        ended.wait(max(MIN_DELAY, look_at - time.monotonic()))
    reporter.close()
