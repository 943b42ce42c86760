"""Sends one delivery: claim it, send it outside any transaction, record the outcome.

Lock order is always the channel before its deliveries, so workers never deadlock.
"""

import logging
import random
import traceback
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final

from django.db import transaction
from django.db.models import F

from alerts import channels, message, owner_mail, retry
from alerts.channels.base import ChannelError, ConfigError
from alerts.models import Channel, Delivery
from alerts.wakeup import wake

log = logging.getLogger(__name__)

# Longer than any channel takes to send; after that the sender is presumed dead.
LEASE: Final = timedelta(seconds=60)


def deliver(delivery_id: int, now: datetime) -> None:
    """Send one delivery if it is due, then wake a worker for the channel's next one."""
    delivery = claim(delivery_id, now)
    if delivery is None:
        return
    finished = send(delivery, now)
    following = Delivery.objects.due(finished).filter(channel_id=delivery.channel_id).order_by("next_try_at", "pk")
    wake(following.values_list("pk", flat=True)[:1])


@transaction.atomic
def claim(delivery_id: int, now: datetime) -> Delivery | None:
    """Take the lease on a due delivery. None if it is not due, or if another worker was faster."""
    channel_id = Delivery.objects.filter(pk=delivery_id).values_list("channel_id", flat=True).first()
    if channel_id is None or _lock(channel_id) is None:
        return None
    # Lock the row before reading it, so that a recovery cancelled at this moment is seen as cancelled.
    Delivery.objects.select_for_update(of=("self",)).filter(pk=delivery_id).first()
    due = Delivery.objects.due(now).filter(pk=delivery_id)
    if not due.update(lease_until=now + LEASE, attempts=F("attempts") + 1):
        return None
    return Delivery.objects.select_related("channel__project__team", "event").get(pk=delivery_id)


def send(delivery: Delivery, now: datetime) -> datetime:
    """Send a leased delivery and record the outcome. `now` is the start; returns the end."""
    started = monotonic()
    error = _attempt(delivery)
    finished = now + timedelta(seconds=monotonic() - started)
    record_outcome(delivery, error, finished)
    return finished


def _attempt(delivery: Delivery) -> ChannelError | None:
    kind = channels.BY_KIND[delivery.channel.kind]
    try:
        kind.send(kind.parse(delivery.channel.config), message.of_delivery(delivery))
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


def record_outcome(delivery: Delivery, error: ChannelError | None, now: datetime) -> None:
    """Record the outcome of an attempt, unless another worker has taken the lease meanwhile."""
    with transaction.atomic():
        channel = _lock(delivery.channel_id)
        if channel is None or not _holds_lease(delivery):
            return
        if error is None:
            _record_success(delivery, channel, now)
        else:
            _record_failure(delivery, channel, error, now)
    if error and error.disable and channel.enabled:
        owner_mail.send_channel_disabled(channel, str(error))


def _lock(channel_id: int) -> Channel | None:
    # Without locking the key: inserting a delivery must not wait for this lock.
    return Channel.objects.select_for_update(no_key=True).filter(pk=channel_id).first()


def _holds_lease(delivery: Delivery) -> bool:
    held = Delivery.objects.pending().filter(pk=delivery.pk, lease_until=delivery.lease_until)
    return held.select_for_update().first() is not None


def _record_success(delivery: Delivery, channel: Channel, now: datetime) -> None:
    _release(delivery, state=Delivery.State.SENT, sent_at=now, last_error="")
    if channel.failing_since:
        # The channel works again: send everything that waited for it now, not hours later.
        channel.deliveries.unleased(now).filter(attempts__gt=0).update(next_try_at=now)
    _update(channel, last_sent_at=now, failing_since=None, failures=0, retry_at=None, last_error="")


def _record_failure(delivery: Delivery, channel: Channel, error: ChannelError, now: datetime) -> None:
    text = str(error)[:300]
    is_final = delivery.event_id is None or error.permanent
    next_try_at = None if is_final else _next_attempt(delivery, error, now)
    if next_try_at:
        _release(delivery, next_try_at=next_try_at, last_error=text)
    else:
        prefix = "" if is_final else "Gave up after 24 hours: "
        _release(delivery, state=Delivery.State.FAILED, last_error=(prefix + text)[:300])
    _update(channel, last_error=text, failing_since=channel.failing_since or now)
    if error.disable:
        _update(channel, enabled=False, disabled_reason=text)
        cancel_waiting(channel, now)
    elif not is_final:
        _back_off(channel, error, now)


def _next_attempt(delivery: Delivery, error: ChannelError, now: datetime) -> datetime | None:
    return retry.next_attempt(
        attempt=delivery.attempts,
        first_at=delivery.created_at,
        now=now,
        retry_after=error.retry_after,
        jitter=random.random(),  # noqa: S311 - spreads load, guards nothing
    )


def _back_off(channel: Channel, error: ChannelError, now: datetime) -> None:
    """Let the whole channel wait, so that its other deliveries don't each run into the same failure."""
    failures = channel.failures + 1
    retry_at = retry.back_off_until(failures=failures, now=now, retry_after=error.retry_after)
    _update(channel, failures=failures, retry_at=retry_at)


def cancel_waiting(channel: Channel, now: datetime) -> None:
    """Cancel everything that waits for a disabled channel and is not being sent at this moment."""
    waiting = channel.deliveries.unleased(now).filter(event__isnull=False)
    waiting.update(state=Delivery.State.SKIPPED, last_error="The channel was disabled.", lease_until=None)


def _release(delivery: Delivery, **changes: Any) -> None:
    Delivery.objects.filter(pk=delivery.pk).update(lease_until=None, **changes)


def _update(channel: Channel, **changes: Any) -> None:
    Channel.objects.filter(pk=channel.pk).update(**changes)
