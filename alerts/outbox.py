"""The outbox: deliveries are rows, written in the same transaction as their event and sent after the commit.

A sender holds a lease on the row. If its worker is killed, the lease expires and the relay hands the row to another
worker, with the same message id. Delivery is at least once.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

from django.db import transaction
from django.db.models import Min

from agents.models import Agent, Incident, IncidentEvent
from alerts import channels, routing
from alerts.models import Channel, Delivery
from alerts.retry import LIFETIME
from alerts.routing import Subscriber
from alerts.wakeup import wake

# Channels per run of the relay; the next run is seconds away.
MAX_WAKEUPS: Final = 500


def new_message_id() -> str:
    """An id by which receivers recognise repeats."""
    return f"msg_{uuid.uuid4().hex}"


def enqueue(*events: IncidentEvent) -> None:
    """Write the deliveries of events inside the events' own transaction; workers are woken on commit, once for all."""
    notified = [event for event in events if event.kind in routing.NOTIFIED_EVENTS and not event.incident.muted_at]
    if not notified:
        return
    audience = _Audience(notified)
    deliveries = Delivery.objects.bulk_create(
        Delivery(
            event=event,
            channel_id=channel_id,
            message_id=new_message_id(),
            created_at=event.at,
            next_try_at=_send_at(event),
        )
        for event in notified
        for channel_id in audience.channels_for(event)
    )
    immediate = {event.pk for event in notified if _send_at(event) <= event.at}
    due = [delivery.pk for delivery in deliveries if delivery.event_id in immediate]
    if due:
        transaction.on_commit(partial(wake, due))


def relay(now: datetime) -> None:
    """Wake workers for unleased deliveries that are due: one per channel, whose sender then wakes the next."""
    give_up(now)
    first = Delivery.objects.due(now).order_by().values("channel").annotate(first=Min("pk"))
    wake(list(first.values_list("first", flat=True)[:MAX_WAKEUPS]))


def give_up(now: datetime) -> None:
    """Fail deliveries that have waited 24 hours for a channel that still doesn't work."""
    late = Delivery.objects.unleased(now).filter(
        created_at__lte=now - LIFETIME, event__isnull=False, channel__retry_at__isnull=False
    )
    late.update(
        state=Delivery.State.FAILED, lease_until=None, last_error="Gave up: the channel has been failing for 24 hours."
    )


def _send_at(event: IncidentEvent) -> datetime:
    return routing.send_at(event.kind, event.incident.reopened, event.at)


class _Audience:
    """The enabled channels of the events' projects, and what each knows about their incidents."""

    def __init__(self, events: Sequence[IncidentEvent]) -> None:
        incidents = {event.incident_id: event.incident for event in events}
        self._missed_recovery = _cancel_recoveries(events)
        self._notified = _notified_before(incidents)
        self._channels = _enabled({incident.project_id for incident in incidents.values()})
        self._labels = _shared_labels([pk for pk, incident in incidents.items() if incident.together])

    def channels_for(self, event: IncidentEvent) -> list[int]:
        """The ids of the channels that are notified of the event."""
        incident = event.incident
        agents = self._labels.get(incident.pk, []) if incident.together else [incident.agent.labels]
        chosen = [
            subscriber.channel_id
            for subscriber in self._subscribers(incident)
            if routing.is_notified(event.kind, subscriber, incident.severity, agents)
        ]
        if event.kind in routing.FAILURES:
            # For the next event of the same incident.
            self._notified[incident.pk] |= set(chosen)
        return chosen

    def _subscribers(self, incident: Incident) -> Iterator[Subscriber]:
        notified, missed = self._notified[incident.pk], self._missed_recovery[incident.pk]
        for channel in self._channels[incident.project_id]:
            yield replace(
                channel, was_notified=channel.channel_id in notified, missed_recovery=channel.channel_id in missed
            )


def _enabled(project_ids: Iterable[int]) -> dict[int, list[Subscriber]]:
    """The enabled channels by project, not knowing about any incident yet."""
    by_project: dict[int, list[Subscriber]] = defaultdict(list)
    enabled = Channel.objects.filter(project__in=list(project_ids), enabled=True).order_by("pk")
    for project_id, pk, kind, severity, labels in enabled.values_list("project", "pk", "kind", "severity", "labels"):
        acknowledgements = channels.BY_KIND[kind].SENDS_ACKNOWLEDGEMENTS
        by_project[project_id].append(
            Subscriber(channel_id=pk, sends_acknowledgements=acknowledgements, severity=severity, labels=labels)
        )
    return by_project


def _notified_before(incident_ids: Iterable[int]) -> dict[int, set[int]]:
    """The channels by incident that were notified of a failure, or will be."""
    failures = Delivery.objects.filter(event__incident__in=list(incident_ids), event__kind__in=routing.FAILURES)
    notified: dict[int, set[int]] = defaultdict(set)
    for incident_id, channel_id in failures.exclude(state__in=Delivery.UNDELIVERED).values_list(
        "event__incident", "channel"
    ):
        notified[incident_id].add(channel_id)
    return notified


def _shared_labels(incident_ids: Sequence[int]) -> dict[int, list[dict[str, str]]]:
    """The labels of each affected agent, by incident."""
    labels: dict[int, list[dict[str, str]]] = defaultdict(list)
    if incident_ids:
        affected = Agent.objects.filter(signals__incident__in=incident_ids).distinct()
        for incident_id, _, of_agent in affected.values_list("signals__incident", "pk", "labels"):
            labels[incident_id].append(of_agent)
    return labels


def _cancel_recoveries(events: Sequence[IncidentEvent]) -> dict[int, set[int]]:
    """Cancel recoveries of incidents that came back which are still waiting.

    Returns the channels by incident that certainly never received one. A channel whose sender died may have received
    it, so it is notified of the reopening, too.
    """
    missed: dict[int, set[int]] = defaultdict(set)
    reopened = {event.incident_id: event.at for event in events if event.kind == IncidentEvent.Kind.REOPENED}
    if not reopened:
        return missed
    waiting = (
        Delivery.objects.unleased(max(reopened.values()))
        .filter(event__incident__in=list(reopened), event__kind=IncidentEvent.Kind.RESOLVED)
        .select_related("event")
        .select_for_update(of=("self",))
    )
    cancelled = list(waiting)
    Delivery.objects.filter(pk__in=[delivery.pk for delivery in cancelled]).update(
        state=Delivery.State.SKIPPED, lease_until=None
    )
    for delivery in cancelled:
        if delivery.lease_until is None and delivery.event is not None:
            missed[delivery.event.incident_id].add(delivery.channel_id)
    return missed
