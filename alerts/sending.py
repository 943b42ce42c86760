"""One delivery on its way: claimed, sent outside any transaction, and its outcome written down.

Locks are taken in one order everywhere, the channel before its deliveries, so that workers never wait in a circle.
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
from alerts.wakeup import knock

log = logging.getLogger(__name__)

# Longer than any kind takes to send; when it runs out, the sender is taken for dead.
LEASE: Final = timedelta(seconds=60)


def deliver(delivery_id: int, now: datetime) -> None:
    """Send one delivery if it is due, then wake a worker for the channel's next one."""
    delivery = claim(delivery_id, now)
    if delivery is None:
        return
    finished = send(delivery, now)
    following = Delivery.objects.due(finished).filter(channel_id=delivery.channel_id).order_by("next_try_at", "pk")
    knock(following.values_list("pk", flat=True)[:1])


@transaction.atomic
def claim(delivery_id: int, now: datetime) -> Delivery | None:
    """Take the lease on a delivery that is due. None when it is not, or when somebody else was first."""
    found = Delivery.objects.filter(pk=delivery_id).values_list("channel_id", flat=True).first()
    if found is None or _lock(found) is None:
        return None
    # Locked before the look, so that a recovery withdrawn at this moment is seen as withdrawn.
    Delivery.objects.select_for_update(of=("self",)).filter(pk=delivery_id).first()
    taken = Delivery.objects.due(now).filter(pk=delivery_id)
    if not taken.update(lease_until=now + LEASE, attempts=F("attempts") + 1):
        return None
    return Delivery.objects.select_related("channel__project__team", "event").get(pk=delivery_id)


def send(delivery: Delivery, now: datetime) -> datetime:
    """Send a delivery whose lease is held, and write the outcome. `now` is when it began; returns when it ended."""
    started = monotonic()
    error = _attempt(delivery)
    finished = now + timedelta(seconds=monotonic() - started)
    settle(delivery, error, finished)
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
        # Only where it happened: the text of an unforeseen error may hold a secret.
        where = "".join(traceback.format_tb(error.__traceback__))
        log.error("Delivery %s: %s in the channel's code\n%s", delivery.pk, type(error).__name__, where)
        return ChannelError("This server could not build or send the message; see its log.")
    return None


def settle(delivery: Delivery, error: ChannelError | None, now: datetime) -> None:
    """Write what became of an attempt, unless the lease has gone to somebody else meanwhile."""
    with transaction.atomic():
        channel = _lock(delivery.channel_id)
        if channel is None or not _still_held(delivery):
            return
        if error is None:
            _arrived(delivery, channel, now)
        else:
            _missed(delivery, channel, error, now)
    if error and error.disable and channel.enabled:
        owner_mail.tell_switched_off(channel, str(error))


def _lock(channel_id: int) -> Channel | None:
    # Not the key: writing a new delivery must not wait for this.
    return Channel.objects.select_for_update(no_key=True).filter(pk=channel_id).first()


def _still_held(delivery: Delivery) -> bool:
    mine = Delivery.objects.pending().filter(pk=delivery.pk, lease_until=delivery.lease_until)
    return mine.select_for_update().first() is not None


def _arrived(delivery: Delivery, channel: Channel, now: datetime) -> None:
    _write(delivery, state=Delivery.State.SENT, sent_at=now, last_error="")
    if channel.failing_since:
        # It works again: what waited for it goes now, not in some hours.
        channel.deliveries.unleased(now).filter(attempts__gt=0).update(next_try_at=now)
    _note(channel, last_sent_at=now, failing_since=None, failures=0, retry_at=None, last_error="")


def _missed(delivery: Delivery, channel: Channel, error: ChannelError, now: datetime) -> None:
    text = str(error)[:300]
    is_test = delivery.event_id is None
    again = None if is_test or error.permanent else _again(delivery, error, now)
    if again:
        _write(delivery, next_try_at=again, last_error=text)
    else:
        given_up = "" if is_test or error.permanent else "Given up after 24 hours: "
        _write(delivery, state=Delivery.State.FAILED, last_error=(given_up + text)[:300])
    _note(channel, last_error=text, failing_since=channel.failing_since or now)
    if error.disable:
        _note(channel, enabled=False, disabled_reason=text)
        skip_waiting(channel, now)
    elif not is_test and not error.permanent:
        _rest(channel, error, now)


def _again(delivery: Delivery, error: ChannelError, now: datetime) -> datetime | None:
    return retry.next_attempt(
        attempt=delivery.attempts,
        first_at=delivery.created_at,
        now=now,
        retry_after=error.retry_after,
        jitter=random.random(),  # noqa: S311 - spreads load, guards nothing
    )


def _rest(channel: Channel, error: ChannelError, now: datetime) -> None:
    """Let the whole channel wait, so that its other deliveries do not each find out for themselves."""
    failures = channel.failures + 1
    _note(
        channel,
        failures=failures,
        retry_at=retry.pause_until(failures=failures, now=now, retry_after=error.retry_after),
    )


def skip_waiting(channel: Channel, now: datetime) -> None:
    """Give up, for good, what nobody is sending at this moment; for a channel that is switched off."""
    waiting = channel.deliveries.unleased(now).filter(event__isnull=False)
    waiting.update(state=Delivery.State.SKIPPED, last_error="The channel was switched off.", lease_until=None)


def _write(delivery: Delivery, **changes: Any) -> None:
    Delivery.objects.filter(pk=delivery.pk).update(lease_until=None, **changes)


def _note(channel: Channel, **changes: Any) -> None:
    Channel.objects.filter(pk=channel.pk).update(**changes)
