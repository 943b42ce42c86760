"""Wakes workers for channels with something to send. Only a hint: the relay finds those for which none was woken."""

import logging
from collections.abc import Iterable
from time import monotonic
from typing import Final

from celery import current_app
from django.db import transaction
from kombu.pools import producers

log = logging.getLogger(__name__)

# A dead broker costs one failed attempt, then none for this many seconds.
BACKOFF_SECONDS: Final = 5.0
# Shorter than the workers' own timeouts: a broker that accepts and never answers must not hold up the caller.
CONNECTION_OPTIONS: Final = {"socket_timeout": 1, "socket_connect_timeout": 1, "max_retries": 0}
_backoff_until = 0.0


class _Wakeup:
    """Wakes the channels of a transaction, after its commit."""

    def __init__(self) -> None:
        self.channel_ids: set[int] = set()

    def __call__(self) -> None:
        wake(sorted(self.channel_ids))


def wake_on_commit(channel_ids: Iterable[int]) -> None:
    """Wake workers after the commit: once per channel and transaction, however many incidents it opens."""
    # run_on_commit holds (savepoints, callback, robust). Only what was registered under the same savepoints is sure
    # to run, or to be rolled back, together with us.
    connection = transaction.get_connection()
    same = [each[1] for each in connection.run_on_commit if each[0] == set(connection.savepoint_ids)]
    wakeup = next((callback for callback in same if isinstance(callback, _Wakeup)), None)
    if wakeup is None:
        wakeup = _Wakeup()
        transaction.on_commit(wakeup)
    wakeup.channel_ids.update(channel_ids)


def wake(channel_ids: Iterable[int]) -> None:
    """Queue a task for each channel. Never raises; backs off after the first failure."""
    global _backoff_until
    if monotonic() < _backoff_until:
        return
    try:
        connection = current_app.connection_for_write(transport_options=CONNECTION_OPTIONS)
        with producers[connection].acquire(block=True, timeout=1) as producer:
            for channel_id in channel_ids:
                # Tasks expire: a queue that no worker empties must not fill up with tasks for the same channels.
                current_app.send_task("alerts.deliver", [channel_id], expires=60, retry=False, producer=producer)
    except Exception as error:  # a broker client raises anything, and the alert is already safe in its row
        _backoff_until = monotonic() + BACKOFF_SECONDS
        log.warning("The broker is unreachable; the relay will send what is due. %s", type(error).__name__)
