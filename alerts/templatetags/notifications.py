"""Notifications on the page of an incident."""

from __future__ import annotations

from collections.abc import Iterable

from django import template

from agents.models import Incident, IncidentEvent
from alerts import undelivered_reasons

register = template.Library()


@register.simple_tag
def explain_undelivered(incident: Incident, events: Iterable[IncidentEvent]) -> list[tuple[IncidentEvent, str, str]]:
    """The timeline: each event, why no one was notified of it, and how severe the incident was by then."""
    shown = list(events)
    severity = undelivered_reasons.severities(incident, shown)
    return [(event, why, severity[event.pk]) for event, why in undelivered_reasons.explain(incident, shown)]
