"""The outbox: deliveries are rows, written in the same transaction as their event and sent after the commit.

A sender holds a lease on the row. If its worker is killed, the lease expires and the relay hands the row to another
worker, with the same message id. Delivery is at least once.
"""

import uuid
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


def enqueue(event: IncidentEvent) -> None:
    """Write the deliveries of an event inside the event's own transaction; workers are woken on commit."""
    if event.kind not in routing.NOTIFIED_EVENTS or event.incident.muted_at:
        return
    missed_recovery = _cancel_recovery(event) if event.kind == IncidentEvent.Kind.REOPENED else set()
    send_at = routing.send_at(event.kind, event.incident.reopened, event.at)
    agents = _agent_labels(event.incident)
    deliveries = Delivery.objects.bulk_create(
        Delivery(
            event=event,
            channel_id=subscriber.channel_id,
            message_id=new_message_id(),
            created_at=event.at,
            next_try_at=send_at,
        )
        for subscriber in _subscribers(event.incident, missed_recovery)
        if routing.is_notified(event.kind, subscriber, event.incident.severity, agents)
    )
    if deliveries and send_at <= event.at:
        transaction.on_commit(partial(wake, [delivery.pk for delivery in deliveries]))


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


def _subscribers(incident: Incident, missed_recovery: set[int]) -> list[Subscriber]:
    """The enabled channels of the incident's project, and what each knows about the incident."""
    failures = Delivery.objects.filter(event__incident=incident, event__kind__in=routing.FAILURES)
    notified = set(failures.exclude(state__in=Delivery.UNDELIVERED).values_list("channel_id", flat=True))
    enabled = Channel.objects.filter(project_id=incident.project_id, enabled=True).order_by("pk")
    return [
        Subscriber(
            channel_id=pk,
            sends_acknowledgements=channels.BY_KIND[kind].SENDS_ACKNOWLEDGEMENTS,
            was_notified=pk in notified,
            missed_recovery=pk in missed_recovery,
            severity=severity,
            labels=labels,
        )
        for pk, kind, severity, labels in enabled.values_list("pk", "kind", "severity", "labels")
    ]


def _agent_labels(incident: Incident) -> list[dict[str, str]]:
    """The labels of each affected agent."""
    if not incident.together:
        return [incident.agent.labels]
    return list(Agent.objects.filter(signals__incident=incident).distinct().values_list("labels", flat=True))


def _cancel_recovery(event: IncidentEvent) -> set[int]:
    """Cancel recoveries that are still waiting. Returns the channels that certainly never received one.

    A channel whose sender died may have received it, so it is notified of the reopening, too.
    """
    waiting = (
        Delivery.objects.unleased(event.at)
        .filter(event__incident_id=event.incident_id, event__kind=IncidentEvent.Kind.RESOLVED)
        .select_for_update(of=("self",))
    )
    cancelled = list(waiting)
    Delivery.objects.filter(pk__in=[delivery.pk for delivery in cancelled]).update(
        state=Delivery.State.SKIPPED, lease_until=None
    )
    return {delivery.channel_id for delivery in cancelled if delivery.lease_until is None}
