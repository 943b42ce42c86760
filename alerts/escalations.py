"""Carries policies out: which rule applies to an incident, and its notifications, each when its time has come.

An escalation moves on by a conditional update in the transaction that writes its events and their deliveries, so a
crash loses none, and of several workers one writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from django.db import transaction

from agents.incidents import events as timeline
from agents.incidents.snoozes import zone_of
from agents.models import Agent, Incident, IncidentEvent
from alerts import on_call, policies, routing
from alerts.models import Escalation
from alerts.policies import Notice, Problem, Rule, Step
from alerts.routing import Address

# Incidents per run of the sweep; the next run is seconds away.
MAX_INCIDENTS: Final = 500
# After a snooze its reminder comes first; the plan goes on for those who don't answer it.
AFTER_SNOOZE: Final = timedelta(minutes=5)
Labels = Mapping[str, Mapping[str, str]]


def begin(events: Sequence[IncidentEvent], rules_of: Mapping[int, Sequence[Rule]]) -> dict[int, Escalation]:
    """Start what these events of one transaction start. Returns the escalations of their incidents, old and new.

    `rules_of` holds the policies by project. An incident that opens, comes back or becomes critical starts the first
    rule that applies, unless it is in that rule already.
    """
    incidents = {event.incident_id for event in events if event.incident.project_id in rules_of}
    found = Escalation.objects.in_bulk(list(incidents)) if incidents else {}
    begun: dict[int, Escalation] = {}
    for event in events:
        if event.incident_id in incidents and may_begin(event):
            rule = rule_for(event.incident, rules_of[event.incident.project_id], event.at)
            begun |= _begun(found.get(event.incident_id), event, rule)
    columns = ["rule", "begins_at", "position", "next_at"]
    Escalation.objects.bulk_create(
        begun.values(), update_conflicts=True, unique_fields=["incident"], update_fields=columns
    )
    return found | begun


def may_begin(event: IncidentEvent) -> bool:
    """Whether the event is the first notification of a rule."""
    return event.kind in ("opened", "reopened") or bool(event.data.get("rose"))


def is_held_back(event: IncidentEvent) -> bool:
    """Whether a snooze swallows the event."""
    rose = bool(event.data.get("rose"))
    return routing.is_held_back(event.kind, event.incident.snoozed_until, event.at, rose=rose)


def _begun(before: Escalation | None, event: IncidentEvent, rule: Rule | None) -> dict[int, Escalation]:
    if rule is None or (before and event.kind == "updated" and before.rule == policies.as_json(rule)):
        return {}
    begun = Escalation(incident_id=event.incident_id, rule=policies.as_json(rule), begins_at=event.at)
    # The event itself is the first notification, unless nobody receives it.
    begun.position = 0 if is_held_back(event) else 1
    begun.next_at = None if event.incident.acknowledged_at else _next_at(rule, begun)
    return {event.incident_id: begun}


def rule_for(incident: Incident, rules: Sequence[Rule], at: datetime) -> Rule | None:
    """The first rule that applies to an incident at this time."""
    agents = _agents_of(incident)
    local = at.astimezone(zone_of(incident.project.time_zone))
    return policies.matching(rules, Problem(incident.severity, incident.kind, agents, local))


def _agents_of(incident: Incident) -> Labels:
    if not incident.together:
        return {incident.agent.name: incident.agent.labels}
    affected = Agent.objects.filter(signals__incident=incident).distinct()
    return dict(affected.values_list("name", "labels")) or {incident.agent.name: incident.agent.labels}


def targets_of(event: IncidentEvent, escalation: Escalation) -> frozenset[Address]:
    """Whom the policy addresses with an event. Updates have no step: they reach who was notified already."""
    step = event.data.get("step", 0 if may_begin(event) else None)
    if step is None:
        return frozenset()
    rule: Rule = msgspec.convert(escalation.rule, Rule)
    named: Step = rule.steps[step]
    on_duty = on_call.people_on_call(event.incident.project_id, named.on_call, event.at)
    return named.addresses | {("person", person.lower()) for person in on_duty}


def sweep(now: datetime) -> None:
    """Write every notification whose time has come."""
    due = Escalation.objects.filter(next_at__lte=now).order_by("next_at")
    for escalation in due.select_related("incident__project__team", "incident__agent")[:MAX_INCIDENTS]:
        with transaction.atomic():
            _advance(escalation, now)


def _advance(escalation: Escalation, now: datetime) -> None:
    """Without waiting: somebody who acknowledges or resolves the incident holds its row, and the next run sees that."""
    locked = Incident.objects.select_for_update(skip_locked=True, of=("self",)).filter(pk=escalation.pk).first()
    if locked is None:
        return
    incident, rule = escalation.incident, msgspec.convert(escalation.rule, Rule)
    if locked.acknowledged_at or locked.resolved_at or locked.muted_at:
        _move(escalation, next_at=None)
    elif locked.snoozed_until and locked.snoozed_until > now:
        resumes_at = locked.snoozed_until + AFTER_SNOOZE
        _move(escalation, begins_at=escalation.begins_at + (resumes_at - now), next_at=resumes_at)
    else:
        notices, position = policies.due(policies.plan(rule, escalation.begins_at), escalation.position, now)
        next_at = _next_at(rule, escalation, position)
        if _move(escalation, position=position, next_at=next_at):
            incident.snoozed_until, incident.severity = None, locked.severity
            timeline.write([_event(incident, rule, notice, now) for notice in notices])


def _move(escalation: Escalation, **changes: Any) -> bool:
    same = Escalation.objects.filter(
        pk=escalation.pk, position=escalation.position, begins_at=escalation.begins_at, next_at=escalation.next_at
    )
    return bool(same.update(**changes))


def _next_at(rule: Rule, escalation: Escalation, position: int | None = None) -> datetime | None:
    notices = policies.plan(rule, escalation.begins_at)
    index = escalation.position if position is None else position
    return notices[index].at if index < len(notices) else None


def _event(incident: Incident, rule: Rule, notice: Notice, now: datetime) -> IncidentEvent:
    kind = IncidentEvent.Kind.REMINDER if notice.round else IncidentEvent.Kind.ESCALATED
    text = f"Nobody has acknowledged it yet. {policies.describe(rule, notice)}"
    data = {"step": notice.step, "round": notice.round}
    return timeline.new(incident=incident, kind=kind, text=text, now=now, data=data)
