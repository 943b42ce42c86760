"""Who sends what: a sender leases a channel, and with it the next notifications that wait for it.

A lease ends when it is given back or, if its sender was killed, by time. No statement here waits for a row while it
holds another: the channel comes first, and notifications that somebody else has locked are left for the next batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, NamedTuple

from django.db import transaction
from django.db.models import F

from alerts.models import Channel, Delivery

# Longer than a sender takes for a batch (`sending.TURN`) and the slowest channel for one more message (e-mail, 50 s).
LEASE: Final = timedelta(seconds=60)
MAX_BATCH: Final = 100
_PAGE: Final = 200


@dataclass(slots=True)
class Batch:
    """Leased notifications of a channel, oldest first. `until` ends the lease and tells it from all others."""

    channel: Channel
    deliveries: list[Delivery]
    until: datetime


class Waiting(NamedTuple):
    """A notification that waits for its channel."""

    pk: int
    incident: int
    recipient: str
    next_try_at: datetime
    lease_until: datetime | None
    attempts: int

    @property
    def topic(self) -> tuple[int, str]:
        """Notifications of one topic keep their order."""
        return self.incident, self.recipient

    def is_due(self, now: datetime) -> bool:
        return self.next_try_at <= now and (self.lease_until is None or self.lease_until <= now)


@transaction.atomic
def claim(channel_id: int, now: datetime, held: datetime | None = None) -> Batch | None:
    """Lease a channel and its next notifications; with `held`, renew that lease for the next batch.

    None if another sender has the channel, if it takes nothing now, or if nothing is due: then the channel is free.
    That is decided under the channel's lock, so a notification committed meanwhile finds either a sender that will
    see it or a free channel.
    """
    until = now + LEASE
    mine = Channel.objects.filter(lease_until=held) if held else Channel.objects.idle(now)
    if not (Channel.objects.open(now) & mine).filter(pk=channel_id).update(lease_until=until):
        give_up(channel_id, held)
        return None
    channel = Channel.objects.select_related("project__team").get(pk=channel_id)
    deliveries = _take(channel, now, until)
    if not deliveries:
        give_up(channel_id, until)
        return None
    return Batch(channel, deliveries, until)


def give_up(channel_id: int, held: datetime | None) -> None:
    """End a lease on a channel."""
    if held is not None:
        Channel.objects.filter(pk=channel_id, lease_until=held).update(lease_until=None)


def give_back(batch: Batch, unsent: Iterable[Delivery]) -> None:
    """Return notifications of a batch that nobody tried to send."""
    unsent_keys = [delivery.pk for delivery in unsent]
    if unsent_keys:
        held = Delivery.objects.pending().filter(pk__in=unsent_keys, lease_until=batch.until)
        held.update(lease_until=None, attempts=F("attempts") - 1)


def _take(channel: Channel, now: datetime, until: datetime) -> list[Delivery]:
    """Lease what may be sent now."""
    ready = in_order(_waiting(channel.pk), lambda each: each.is_due(now))
    chosen = list(islice(_probe(ready) if channel.failing_since else ready, MAX_BATCH))
    if not chosen:
        return []
    # Locked ones are being cancelled by the review that reopens their incident.
    free = Delivery.objects.due(now).filter(pk__in=[each.pk for each in chosen]).select_related("event")
    locked = {delivery.pk: delivery for delivery in free.select_for_update(skip_locked=True, of=("self",))}
    taken = [locked[each.pk] for each in in_order(chosen, lambda each: each.pk in locked)]
    Delivery.objects.filter(pk__in=[delivery.pk for delivery in taken]).update(
        lease_until=until, attempts=F("attempts") + 1
    )
    for delivery in taken:
        delivery.channel, delivery.lease_until, delivery.attempts = channel, until, delivery.attempts + 1
    return taken


def _probe(ready: Iterable[Waiting]) -> list[Waiting]:
    """The one message to try on a failing channel: one tried least often, in case the fault is in a message."""
    first: dict[tuple[int, str], Waiting] = {}
    for each in islice(ready, MAX_BATCH):
        first.setdefault(each.topic, each)
    return sorted(first.values(), key=lambda each: (each.attempts, each.pk))[:1]


def _waiting(channel_id: int) -> Iterator[Waiting]:
    """Everything that waits for a channel, oldest first, read in pages: usually the first one is enough."""
    columns = ("pk", "event__incident_id", "recipient", "next_try_at", "lease_until", "attempts")
    rows = Delivery.objects.pending().filter(channel=channel_id, event__isnull=False).order_by("pk")
    page, last = _PAGE, 0
    while page == _PAGE:
        found = [Waiting(*row) for row in rows.filter(pk__gt=last).values_list(*columns)[:_PAGE]]
        yield from found
        page, last = len(found), found[-1].pk if found else 0


def in_order(waiting: Iterable[Waiting], is_free: Callable[[Waiting], bool]) -> Iterator[Waiting]:
    """Those that are free, without those that would overtake an earlier one of their incident to their recipient."""
    blocked: set[tuple[int, str]] = set()
    for each in waiting:
        if each.topic in blocked:
            continue
        if is_free(each):
            yield each
        else:
            blocked.add(each.topic)
