"""The outbox: deliveries are rows, written in the same transaction as their event and sent after the commit.

A sender holds a lease on the channel and on the rows it sends; see `leases`. If its worker is killed, the leases expire
and the relay hands the rows to another worker, with the same message ids. Delivery is at least once.
"""

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from django.db.models import Exists, OuterRef, QuerySet

from agents.domain import budgets, signal_kinds
from agents.models import Agent, IncidentEvent, Severity, Signal
from agents.storage import bulk
from alerts import channels, escalations, owner_notices, people, policies, routing
from alerts.models import Channel, Delivery
from alerts.policies import Rule
from alerts.quiet_hours import Quiet, waits_until
from alerts.retry import LIFETIME
from alerts.routing import Address, Subscriber
from alerts.wakeup import wake, wake_on_commit

# A channel and one of its recipients.
Target = tuple[int, str]
# Channels per run of the relay; the next run is seconds away.
MAX_WAKEUPS: Final = 500
GAVE_UP: Final = "Gave up: the channel has been failing for 24 hours."
TAKEN: Final = "Acknowledged or resolved before the end of quiet hours."
INTERRUPTED: Final = "The server stopped while it was sending this. Send another test."


def new_message_id() -> str:
    """An id by which receivers recognise repeats."""
    return f"msg_{uuid.uuid4().hex}"


def enqueue(*events: IncidentEvent) -> None:
    """Write the deliveries of events inside the events' own transaction; workers are woken on commit, once for all."""
    notified = [event for event in events if event.kind in routing.NOTIFIED_EVENTS and not event.incident.muted_at]
    if not notified:
        return
    audience = _Audience(notified)
    sent = [event for event in notified if not escalations.is_held_back(event)]
    targets = [(event, *target) for event in sent for target in audience.targets_of(event)]
    quiet = people.quiet_of({recipient for _, _, recipient in targets})
    if quiet:
        _release_held(targets, quiet)
    deliveries = [
        Delivery(
            event=event,
            channel_id=channel_id,
            recipient=recipient,
            message_id=new_message_id(),
            created_at=event.at,
            next_try_at=_send_at(event, quiet.get(recipient)),
        )
        for event, channel_id, recipient in targets
    ]
    bulk.insert(deliveries)
    due = {each.channel_id for each in deliveries if each.next_try_at and each.next_try_at <= each.created_at}
    if due:
        wake_on_commit(due)


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


def _send_at(event: IncidentEvent, quiet: Quiet | None) -> datetime:
    at = routing.send_at(event.kind, event.incident.reopened, event.at, event.incident.snoozed_until)
    # A recovery is no emergency, whatever it is the recovery from.
    severity = "" if event.kind == IncidentEvent.Kind.RESOLVED else event.incident.severity
    return waits_until(quiet, at, severity) if quiet else at


class _Audience:
    """The recipients of the enabled channels of the events' projects, and what each knows about their incidents."""

    def __init__(self, events: Sequence[IncidentEvent]) -> None:
        incidents = {event.incident_id: event.incident for event in events}
        self._missed_recovery = _cancel_recoveries(events)
        _cancel_held(events)
        begun = {event.incident_id for event in events if event.kind == IncidentEvent.Kind.OPENED}
        self._notified = _notified_before(incidents.keys() - begun)
        self._enabled, rules = _enabled({incident.project_id for incident in incidents.values()})
        self._escalations = escalations.begin(events, rules) if rules else {}
        self._addressed = {event.pk: self._addressed_by(event) for event in events}
        self._labels = _shared_labels([pk for pk, incident in incidents.items() if incident.together])
        self._over_month = _over_month({event.incident.project_id for event in events if _may_be_of_month(event)})
        self._informed_of_month = _informed_of_month(self._over_month)

    def targets_of(self, event: IncidentEvent) -> list[Target]:
        """Who is notified of the event. Ask in the order of the events: each may make the next one needless."""
        incident, informed = event.incident, self._informed_elsewhere(event)
        agents = self._labels[incident.pk] if incident.together else [incident.agent.labels]
        targets = [
            (subscriber.channel_id, subscriber.recipient)
            for subscriber in self._subscribers(event)
            if routing.is_notified(event.kind, subscriber, incident.severity, agents)
            and not informed & _known_as(subscriber.channel_id, subscriber.recipient)
        ]
        if event.kind in routing.FAILURES:
            self._notified[incident.pk] |= set(targets)
            self._informed_of_month[incident.pk] |= set(targets)
        return targets

    def _subscribers(self, event: IncidentEvent) -> Iterator[Subscriber]:
        notified, missed = self._notified[event.incident_id], self._missed_recovery[event.incident_id]
        targets = self._addressed[event.pk]
        for subscriber in self._enabled[event.incident.project_id]:
            known = _known_as(subscriber.channel_id, subscriber.recipient)
            yield replace(
                subscriber,
                was_notified=bool(known & notified),
                missed_recovery=bool(known & missed),
                is_addressed=None if targets is None else bool(targets & subscriber.addresses),
                is_step="step" in event.data,
            )

    def _addressed_by(self, event: IncidentEvent) -> frozenset[Address] | None:
        """Whom a policy addresses; None without one, and where it names only channels that don't exist any more."""
        escalation = self._escalations.get(event.incident_id)
        if escalation is None:
            return None
        targets = escalations.targets_of(event, escalation)
        exists = any(targets & subscriber.addresses for subscriber in self._enabled[event.incident.project_id])
        return targets if exists or not escalations.may_begin(event) else None

    def _informed_elsewhere(self, event: IncidentEvent) -> set[Target]:
        """Who knows from another incident that the project's monthly budget is exceeded.

        Agents that were already in trouble keep their incidents, but one overrun is one message.
        """
        over_month = self._over_month[event.incident.project_id]
        if not _may_be_of_month(event) or event.incident_id not in over_month:
            return set()
        others = over_month - {event.incident_id}
        return {target for incident_id in others for target in self._informed_of_month[incident_id]}


def _known_as(channel_id: int, recipient: str) -> set[Target]:
    """How deliveries name a target. An empty recipient: written before each recipient had a row of its own."""
    return {(channel_id, recipient), (channel_id, "")}


def _enabled(project_ids: Iterable[int]) -> tuple[dict[int, list[Subscriber]], dict[int, Sequence[Rule]]]:
    """Every recipient of the enabled channels by project, as if it knew about no incident; and the policies."""
    by_project: dict[int, list[Subscriber]] = defaultdict(list)
    rules: dict[int, Sequence[Rule]] = {}
    enabled = Channel.objects.filter(project__in=list(project_ids), enabled=True).order_by("pk")
    columns = ("project_id", "pk", "kind", "config", "severity", "labels", "name", "project__policy__rules")
    for project_id, pk, kind, config, severity, labels, name, policy in enabled.values_list(*columns):
        if policy and project_id not in rules:
            rules[project_id] = policies.stored(policy)
        acknowledgements = channels.BY_KIND[kind].SENDS_ACKNOWLEDGEMENTS
        by_project[project_id] += [
            Subscriber(
                channel_id=pk,
                recipient=recipient,
                sends_acknowledgements=acknowledgements,
                severity=severity,
                labels=labels,
                name=name,
            )
            for recipient in channels.recipients(kind, config)
        ]
    return by_project, rules


def _notified_before(incident_ids: Collection[int]) -> dict[int, set[Target]]:
    """Who was notified of a failure, or will be, by incident."""
    if not incident_ids:
        return defaultdict(set)
    return _targets_of(Delivery.objects.filter(event__incident__in=list(incident_ids)))


def _targets_of(deliveries: QuerySet[Delivery]) -> dict[int, set[Target]]:
    """Who receives these deliveries, as far as they are failures, by incident."""
    by_incident: dict[int, set[Target]] = defaultdict(set)
    failures = deliveries.filter(event__kind__in=routing.FAILURES).exclude(state__in=Delivery.UNDELIVERED)
    for pk, channel_id, recipient in failures.values_list("event__incident", "channel_id", "recipient"):
        by_incident[pk].add((channel_id, recipient))
    return by_incident


def _shared_labels(incident_ids: Sequence[int]) -> dict[int, list[dict[str, str]]]:
    """The labels of each affected agent, by incident."""
    labels: dict[int, list[dict[str, str]]] = defaultdict(list)
    if incident_ids:
        affected = Agent.objects.filter(signals__incident__in=incident_ids).distinct()
        for incident_id, _, of_agent in affected.values_list("signals__incident", "pk", "labels"):
            labels[incident_id].append(of_agent)
    return labels


def _may_be_of_month(event: IncidentEvent) -> bool:
    return event.kind == IncidentEvent.Kind.UPDATED and event.data.get("signal") == signal_kinds.COST


def _over_month(project_ids: Collection[int]) -> dict[int, set[int]]:
    """The incidents by project that report an exceeded monthly budget."""
    by_project: dict[int, set[int]] = defaultdict(set)
    if project_ids:
        exceeded = _exceeded_months().filter(incident__project__in=project_ids)
        for project_id, incident_id in exceeded.values_list("incident__project", "incident"):
            by_project[project_id].add(incident_id)
    return by_project


def _exceeded_months() -> QuerySet[Signal]:
    return Signal.objects.filter(
        kind=signal_kinds.COST,
        severity=Severity.CRITICAL,
        evidence__budget=budgets.MONTH,
        cleared_at__isnull=True,
    )


def _informed_of_month(over_month: Mapping[int, set[int]]) -> dict[int, set[Target]]:
    """Who was notified of these incidents since they report the month, by incident."""
    incident_ids = [pk for pks in over_month.values() for pk in pks]
    if not incident_ids:
        return defaultdict(set)
    since = _exceeded_months().filter(incident=OuterRef("event__incident"), opened_at__lte=OuterRef("event__at"))
    return _targets_of(Delivery.objects.filter(Exists(since), event__incident__in=incident_ids))


def _release_held(targets: Iterable[tuple[IncidentEvent, int, str]], quiet: Mapping[str, Quiet]) -> None:
    """Make alerts due that waited for the end of quiet hours while their incident was a warning, and now may disturb.

    Otherwise they would block the critical one: what goes to one recipient about one incident keeps its order.
    """
    risen = [(event, recipient) for event, _, recipient in targets if event.data.get("rose") and recipient in quiet]
    for event, recipient in risen:
        if _send_at(event, quiet[recipient]) <= event.at:
            _held([event.incident_id], event.at).filter(recipient=recipient).update(next_try_at=event.at)


def _held(incident_ids: Sequence[int], now: datetime) -> QuerySet[Delivery]:
    """Alerts that wait for the end of quiet hours: others that wait have been tried."""
    failures = Delivery.objects.unleased(now).filter(event__incident__in=incident_ids, event__kind__in=routing.FAILURES)
    return failures.filter(attempts=0, next_try_at__gt=now)


def _cancel_held(events: Sequence[IncidentEvent]) -> None:
    """Cancel alerts that wait for the end of somebody's quiet hours, of incidents that are taken or over.

    These people were not notified of the failure, so they won't be of the recovery.
    """
    ended = {event.incident_id: event.at for event in events if event.kind in ("acknowledged", "resolved")}
    if not ended:
        return
    _held(list(ended), max(ended.values())).update(state=Delivery.State.SKIPPED, lease_until=None, last_error=TAKEN)


def _cancel_recoveries(events: Sequence[IncidentEvent]) -> dict[int, set[Target]]:
    """Cancel recoveries of incidents that came back which are still waiting.

    Returns who certainly never received one, by incident. A channel whose sender died may have received it, so it is
    notified of the reopening, too.
    """
    missed: dict[int, set[Target]] = defaultdict(set)
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
            missed[delivery.event.incident_id].add((delivery.channel_id, delivery.recipient))
    return missed
