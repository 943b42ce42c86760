"""Records what became of notifications, and what that says about their channel.

Each statement commits on its own, so nobody waits for the channel's row while this waits for something else.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce

from alerts import owner_notices, retry
from alerts.channels.base import ChannelError
from alerts.leases import Batch
from alerts.models import Channel, Delivery

Failure = tuple[Delivery, ChannelError]


def record(batch: Batch, sent: Sequence[Delivery], failure: Failure | None, now: datetime) -> bool:
    """Record outcomes, except of notifications whose lease another sender has taken over.

    Returns whether the channel takes more now: it is enabled, does not fail, and the lease still holds.
    """
    is_open = _record_sent(batch, sent, now) if sent else True
    return _record_failure(batch, *failure, now) and is_open if failure else is_open


def _record_sent(batch: Batch, sent: Sequence[Delivery], now: datetime) -> bool:
    channel = batch.channel
    if not _release(batch, [delivery.pk for delivery in sent], state=Delivery.State.SENT, sent_at=now, last_error=""):
        return False
    if channel.failing_since:
        # The channel works again: send everything that waited for it now, not hours later.
        retry_now(channel, now)
        channel.failing_since, channel.failures = None, 0
    owner_notices.recipients_accept(channel, {delivery.recipient for delivery in sent})
    changes = {"last_sent_at": now, "failing_since": None, "failures": 0, "retry_at": None, "last_error": ""}
    if Channel.objects.filter(pk=channel.pk, enabled=True).update(**changes):
        return True
    _update(channel, **changes)
    return False


def retry_now(channel: Channel, now: datetime) -> None:
    """Make everything due that a failure has postponed."""
    channel.deliveries.unleased(now).filter(attempts__gt=0).update(next_try_at=now)


def _record_failure(batch: Batch, delivery: Delivery, error: ChannelError, now: datetime) -> bool:
    next_try_at = None if delivery.event_id is None or error.permanent else _next_attempt(delivery, error, now)
    if not _release(batch, [delivery.pk], **_failed(delivery, error, next_try_at)):
        return False
    is_lost = next_try_at is None and delivery.event_id is not None
    if error.only_recipient:
        if is_lost:
            owner_notices.recipient_refuses(batch.channel, delivery.recipient, _text(error))
        return True
    _update(batch.channel, last_error=_text(error), failing_since=Coalesce(F("failing_since"), now))
    if error.disable:
        _update(batch.channel, enabled=False, disabled_reason=_text(error))
    if error.disable or is_lost:
        owner_notices.channel_fails(batch.channel, _text(error), now)
    if not error.permanent and delivery.event_id is not None:
        _back_off(batch.channel, error, now)
    return error.permanent and not error.disable


def _failed(delivery: Delivery, error: ChannelError, next_try_at: datetime | None) -> dict[str, Any]:
    if next_try_at:
        return {"next_try_at": next_try_at, "last_error": _text(error)}
    prefix = "" if error.permanent or delivery.event_id is None else "Gave up after 24 hours: "
    return {"state": Delivery.State.FAILED, "last_error": (prefix + str(error))[:300]}


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


def cancel_if_disabled(channel: Channel, now: datetime) -> None:
    """Cancel what waits for a channel if it was disabled while it was being sent to."""
    if Channel.objects.filter(pk=channel.pk, enabled=False).exists():
        cancel_waiting(channel, now)


@transaction.atomic
def cancel_waiting(channel: Channel, now: datetime) -> None:
    """Cancel everything that waits for a disabled channel and is not being sent at this moment."""
    # Without waiting: rows that are locked are being cancelled already.
    waiting = channel.deliveries.unleased(now).filter(event__isnull=False)
    keys = list(waiting.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True))
    Delivery.objects.filter(pk__in=keys).update(
        state=Delivery.State.SKIPPED, last_error="The channel was disabled.", lease_until=None
    )


def _release(batch: Batch, keys: Sequence[int], **changes: Any) -> int:
    held = Delivery.objects.pending().filter(pk__in=keys, lease_until=batch.until)
    return held.update(lease_until=None, **changes)


def _update(channel: Channel, **changes: Any) -> None:
    Channel.objects.filter(pk=channel.pk).update(**changes)


def _text(error: ChannelError) -> str:
    return str(error)[:300]
