"""The outbox: deliveries are rows, written in the same transaction as their event and sent after the commit.

A sender holds a lease on the channel and on the rows it sends; see `leases`. If its worker is killed, the leases expire
and the relay hands the rows to another worker, with the same message ids. Delivery is at least once.
"""

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from django.db.models import Exists, OuterRef, QuerySet

from agents.domain import budgets, signal_kinds
from agents.models import Agent, Incident, IncidentEvent, Severity, Signal
from alerts import channels, owner_notices, routing
from alerts.models import Channel, Delivery
from alerts.retry import LIFETIME
from alerts.routing import Subscriber
from alerts.wakeup import wake, wake_on_commit

# Channels per run of the relay; the next run is seconds away.
MAX_WAKEUPS: Final = 500
GAVE_UP: Final = "Gave up: the channel has been failing for 24 hours."
INTERRUPTED: Final = "The server stopped while it was sending this. Send another test."


def new_message_id() -> str:
    """An id by which receivers recognise repeats."""
    return f"msg_{uuid.uuid4().hex}"


def enqueue(event: IncidentEvent) -> None:
    """Write the deliveries of an event inside the event's own transaction; workers are woken on commit."""
    if event.kind not in routing.NOTIFIED_EVENTS or event.incident.muted_at:
        return
    missed_recovery = _cancel_recovery(event) if event.kind == IncidentEvent.Kind.REOPENED else set()
    informed = _informed_of_month(event)
    send_at = routing.send_at(event.kind, event.incident.reopened, event.at)
    agents = _agent_labels(event.incident)
    deliveries = Delivery.objects.bulk_create(
        Delivery(
            event=event,
            channel_id=subscriber.channel_id,
            recipient=subscriber.recipient,
            message_id=new_message_id(),
            created_at=event.at,
            next_try_at=send_at,
        )
        for subscriber in _subscribers(event.incident, missed_recovery)
        if routing.is_notified(event.kind, subscriber, event.incident.severity, agents)
        and not informed & {(subscriber.channel_id, subscriber.recipient), (subscriber.channel_id, "")}
    )
    if deliveries and send_at <= event.at:
        wake_on_commit({delivery.channel_id for delivery in deliveries})


def relay(now: datetime) -> None:
    """Wake a worker for each channel with something to send that no sender works on."""
    give_up(now)
    wake(due_channels(now)[:MAX_WAKEUPS])


def due_channels(now: datetime) -> QuerySet[Channel, int]:
    """The channels that have something to send, may be sent to now, and are idle.

    Costs one look into an index per channel, whatever waits for channels that fail.
    """
    due = Delivery.objects.due(now).filter(channel=OuterRef("pk"))
    channels_due = Channel.objects.open(now).idle(now).filter(Exists(due))
    return channels_due.order_by("pk").values_list("pk", flat=True)


def give_up(now: datetime) -> None:
    """Fail what has waited 24 hours for a channel that still doesn't work, and tests whose sender was killed."""
    failing = Channel.objects.filter(retry_at__isnull=False).values("pk")
    late = Delivery.objects.unleased(now).filter(
        created_at__lte=now - LIFETIME, event__isnull=False, channel__in=failing
    )
    channels_late = list(Channel.objects.filter(pk__in=late.values("channel")))
    if channels_late and late.update(state=Delivery.State.FAILED, lease_until=None, last_error=GAVE_UP):
        for channel in channels_late:
            owner_notices.channel_fails(channel, f"{GAVE_UP} {channel.last_error}", now)
    interrupted = Delivery.objects.unleased(now).filter(event__isnull=True)
    interrupted.update(state=Delivery.State.FAILED, lease_until=None, last_error=INTERRUPTED)


def _subscribers(incident: Incident, missed_recovery: set[tuple[int, str]]) -> Iterator[Subscriber]:
    """Every recipient of the enabled channels of the incident's project, and what each knows about the incident."""
    failures = Delivery.objects.filter(event__incident=incident, event__kind__in=routing.FAILURES)
    notified = set(failures.exclude(state__in=Delivery.UNDELIVERED).values_list("channel_id", "recipient"))
    enabled = Channel.objects.filter(project_id=incident.project_id, enabled=True).order_by("pk")
    for pk, kind, config, severity, labels in enabled.values_list("pk", "kind", "config", "severity", "labels"):
        for recipient in channels.recipients(kind, config):
            # An empty recipient: written before each recipient had a row of its own.
            known = {(pk, recipient), (pk, "")}
            yield Subscriber(
                channel_id=pk,
                recipient=recipient,
                sends_acknowledgements=channels.BY_KIND[kind].SENDS_ACKNOWLEDGEMENTS,
                was_notified=bool(known & notified),
                missed_recovery=bool(known & missed_recovery),
                severity=severity,
                labels=labels,
            )


def _informed_of_month(event: IncidentEvent) -> set[tuple[int, str]]:
    """The channels and recipients that know from another incident that the project's monthly budget is exceeded.

    Agents that were already in trouble keep their incidents, but one overrun is one message.
    """
    if event.kind != IncidentEvent.Kind.UPDATED or event.data.get("signal") != signal_kinds.COST:
        return set()
    exceeded = Signal.objects.filter(
        incident__project=event.incident.project_id,
        kind=signal_kinds.COST,
        severity=Severity.CRITICAL,
        evidence__budget=budgets.MONTH,
        cleared_at__isnull=True,
    )
    if not exceeded.filter(incident=event.incident_id).exists():
        return set()
    others = exceeded.exclude(incident=event.incident_id).filter(incident=OuterRef("event__incident"))
    since = others.filter(opened_at__lte=OuterRef("event__at"))
    known = Delivery.objects.filter(Exists(since), event__kind__in=routing.FAILURES)
    return set(known.exclude(state__in=Delivery.UNDELIVERED).values_list("channel_id", "recipient"))


def _agent_labels(incident: Incident) -> list[dict[str, str]]:
    """The labels of each affected agent."""
    if not incident.together:
        return [incident.agent.labels]
    return list(Agent.objects.filter(signals__incident=incident).distinct().values_list("labels", flat=True))


def _cancel_recovery(event: IncidentEvent) -> set[tuple[int, str]]:
    """Cancel recoveries that are still waiting. Returns the channels and recipients that certainly never received one.

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
    return {(each.channel_id, each.recipient) for each in cancelled if each.lease_until is None}
