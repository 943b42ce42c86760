"""Sends what is due on a channel: one sender per channel, in batches, outside any transaction."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from time import monotonic
from typing import Final

from alerts import channels, leases, message, outcomes
from alerts.channels.base import ChannelError, ChannelKind, ConfigError
from alerts.leases import Batch
from alerts.models import Delivery
from alerts.outcomes import Failure
from alerts.wakeup import wake

log = logging.getLogger(__name__)

# After this long a batch begins no further message, so that its lease outlives it.
TURN: Final = timedelta(seconds=5)
# After this long a sender makes room for other channels and wakes a worker for the rest.
MAX_TURNS: Final = timedelta(seconds=15)
# A killed sender repeats at most what it sent in this time.
RECORD_EVERY: Final = timedelta(milliseconds=100)

Clock = Callable[[], datetime]


def deliver(channel_id: int, now: datetime) -> None:
    """Send everything that is due on a channel, unless another sender is at it."""
    clock = _clock_from(now)
    batch = leases.claim(channel_id, now)
    while batch:
        send(batch, clock)
        if clock() - now >= MAX_TURNS:
            leases.give_up(channel_id, batch.until)
            wake([channel_id])
            return
        batch = leases.claim(channel_id, clock(), batch.until)


def send_now(batch: Batch, now: datetime) -> None:
    """Send a batch that starts now."""
    send(batch, _clock_from(now))


def _clock_from(now: datetime) -> Clock:
    started = monotonic()
    return lambda: now + timedelta(seconds=monotonic() - started)


def send(batch: Batch, clock: Clock) -> None:
    """Send a batch and record the outcomes as they come. What is not sent within a turn is given back."""
    attempt = _attempts_of(batch)
    unsent, until = deque(batch.deliveries), clock() + TURN
    is_open = True
    while unsent and is_open and clock() < until:
        sent, failure = _send_some(unsent, attempt, clock)
        is_open = outcomes.record(batch, sent, failure, clock())
    leases.give_back(batch, unsent)
    if not is_open:
        outcomes.cancel_if_disabled(batch.channel, clock())


def _send_some(
    unsent: deque[Delivery], attempt: Callable[[Delivery], ChannelError | None], clock: Clock
) -> tuple[list[Delivery], Failure | None]:
    """Send until the first failure or until it is time to record. Returns what was sent, and the failure."""
    sent: list[Delivery] = []
    until = clock() + RECORD_EVERY
    while unsent and clock() < until:
        delivery = unsent.popleft()
        error = attempt(delivery)
        if error:
            return sent, (delivery, error)
        sent.append(delivery)
    return sent, None


def _attempts_of(batch: Batch) -> Callable[[Delivery], ChannelError | None]:
    kind = channels.BY_KIND[batch.channel.kind]
    known = message.incidents_of(batch.deliveries)
    return lambda delivery: _attempt(kind, delivery, known)


def _attempt(kind: ChannelKind, delivery: Delivery, known: Mapping[int, message.Known]) -> ChannelError | None:
    try:
        kind.send(kind.parse(delivery.channel.config), message.of_delivery(delivery, known))
    except ChannelError as error:
        return error
    except ConfigError as error:
        return ChannelError(str(error), permanent=True)
    except Exception as error:
        # Log only the location: the text of an unexpected error may contain a secret.
        where = "".join(traceback.format_tb(error.__traceback__))
        log.error("Delivery %s: %s in the channel's code\n%s", delivery.pk, type(error).__name__, where)
        return ChannelError("This server could not build or send the message; see its log.")
    return None
