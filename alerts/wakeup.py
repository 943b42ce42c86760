"""Wakes workers for rows that are due. Only a hint: the relay picks up rows for which no worker was woken."""

import logging
from collections.abc import Iterable
from time import monotonic
from typing import Final

from celery import current_app
from kombu.pools import producers

log = logging.getLogger(__name__)

# A dead broker costs one failed attempt, then none for this many seconds.
BACKOFF_SECONDS: Final = 5.0
# Shorter than the workers' own timeouts: a broker that accepts and never answers must not hold up the caller.
CONNECTION_OPTIONS: Final = {"socket_timeout": 1, "socket_connect_timeout": 1, "max_retries": 0}
_backoff_until = 0.0


def wake(delivery_ids: Iterable[int]) -> None:
    """Queue a task for each delivery. Never raises; backs off after the first failure."""
    global _backoff_until
    if monotonic() < _backoff_until:
        return
    try:
        connection = current_app.connection_for_write(transport_options=CONNECTION_OPTIONS)
        with producers[connection].acquire(block=True, timeout=1) as producer:
            for delivery_id in delivery_ids:
                # Tasks expire: a queue that no worker empties must not fill up with tasks for the same rows.
                current_app.send_task("alerts.deliver", [delivery_id], expires=60, retry=False, producer=producer)
    except Exception as error:  # a broker client raises anything, and the alert is already safe in its row
        _backoff_until = monotonic() + BACKOFF_SECONDS
        log.warning("The broker is unreachable; the relay will send what is due. %s", type(error).__name__)
