"""Alerts that are never lost: a delivery is a row, written with the event it tells of and sent after the commit.

Whoever sends holds a lease on the row. A killed worker's lease runs out and the relay hands the row to another one,
with the same message id: at least once, never lost.
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
from alerts.routing import Listener
from alerts.wakeup import knock

# How many channels one run of the relay wakes workers for; the next run is seconds away.
MOST_KNOCKS: Final = 500


def new_message_id() -> str:
    """What receivers tell repeats by."""
    return f"msg_{uuid.uuid4().hex}"


def enqueue(event: IncidentEvent) -> None:
    """Write the deliveries of an event, inside the transaction that wrote the event; workers are woken on commit."""
    if event.kind not in routing.TOLD or event.incident.muted_at:
        return
    unaware = _withdraw_recovery(event) if event.kind == IncidentEvent.Kind.REOPENED else set()
    due_at = routing.not_before(event.kind, event.incident.reopened, event.at)
    about = _agents(event.incident)
    deliveries = Delivery.objects.bulk_create(
        Delivery(
            event=event,
            channel_id=listener.channel_id,
            message_id=new_message_id(),
            created_at=event.at,
            next_try_at=due_at,
        )
        for listener in _listeners(event.incident, unaware)
        if routing.is_told(event.kind, listener, event.incident.severity, about)
    )
    if deliveries and due_at <= event.at:
        transaction.on_commit(partial(knock, [delivery.pk for delivery in deliveries]))


def relay(now: datetime) -> None:
    """Wake workers for what is due and in nobody's hands: one delivery a channel, the rest follow by themselves."""
    give_up(now)
    first = Delivery.objects.due(now).order_by().values("channel").annotate(first=Min("pk"))
    knock(list(first.values_list("first", flat=True)[:MOST_KNOCKS]))


def give_up(now: datetime) -> None:
    """End what has waited a day for a channel that still does not work."""
    late = Delivery.objects.unleased(now).filter(
        created_at__lte=now - LIFETIME, event__isnull=False, channel__retry_at__isnull=False
    )
    late.update(state=Delivery.State.FAILED, lease_until=None, last_error="Given up: the channel failed for 24 hours.")


def _listeners(incident: Incident, unaware: set[int]) -> list[Listener]:
    """The enabled channels of the incident's project and what each knows of it."""
    told = Delivery.objects.filter(event__incident=incident, event__kind__in=routing.FAILURES)
    knowing = set(told.exclude(state__in=Delivery.UNTOLD).values_list("channel_id", flat=True))
    enabled = Channel.objects.filter(project_id=incident.project_id, enabled=True).order_by("pk")
    return [
        Listener(
            channel_id=pk,
            wants_acknowledged=channels.BY_KIND[kind].TELLS_ACKNOWLEDGED,
            knows=pk in knowing,
            unaware=pk in unaware,
            severity=severity,
            labels=labels,
        )
        for pk, kind, severity, labels in enabled.values_list("pk", "kind", "severity", "labels")
    ]


def _agents(incident: Incident) -> list[dict[str, str]]:
    """The labels of each agent that the incident is about."""
    if not incident.together:
        return [incident.agent.labels]
    return list(Agent.objects.filter(signals__incident=incident).distinct().values_list("labels", flat=True))


def _withdraw_recovery(event: IncidentEvent) -> set[int]:
    """Skip recoveries that nobody was told yet. Returns the channels that for certain were not told.

    One whose sender died may have been told: it hears of the reopening too.
    """
    waiting = (
        Delivery.objects.unleased(event.at)
        .filter(event__incident_id=event.incident_id, event__kind=IncidentEvent.Kind.RESOLVED)
        .select_for_update(of=("self",))
    )
    withdrawn = list(waiting)
    Delivery.objects.filter(pk__in=[delivery.pk for delivery in withdrawn]).update(
        state=Delivery.State.SKIPPED, lease_until=None
    )
    return {delivery.channel_id for delivery in withdrawn if delivery.lease_until is None}
