"""Wake a worker for rows that are due. Only a hint: the rows stay, and the relay finds those nobody was woken for."""

import logging
from collections.abc import Iterable
from time import monotonic

from celery import current_app
from kombu.pools import producers

log = logging.getLogger(__name__)

# A dead broker costs one failed attempt, then nothing for this many seconds.
SILENCE = 5.0
# A broker that accepts and never answers must not hold up the caller, so this is shorter than what workers use.
PATIENCE = {"socket_timeout": 1, "socket_connect_timeout": 1, "max_retries": 0}
_silent_until = 0.0


def knock(delivery_ids: Iterable[int]) -> None:
    """Ask for each delivery to be sent. Never raises; gives up for a while at the first failure."""
    global _silent_until
    if monotonic() < _silent_until:
        return
    try:
        connection = current_app.connection_for_write(transport_options=PATIENCE)
        with producers[connection].acquire(block=True, timeout=1) as producer:
            for delivery_id in delivery_ids:
                # Expires, so that a queue nobody empties does not fill with knocks for the same row.
                current_app.send_task("alerts.deliver", [delivery_id], expires=60, retry=False, producer=producer)
    except Exception as error:  # whatever a broker can raise: the alert is already safe in its row
        _silent_until = monotonic() + SILENCE
        log.warning("The broker cannot be reached; the relay will send what waits. %s", type(error).__name__)
