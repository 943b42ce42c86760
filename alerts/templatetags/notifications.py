"""Notifications on the page of an incident."""

from __future__ import annotations

from collections.abc import Iterable

from django import template

from agents.models import Incident, IncidentEvent
from alerts import undelivered_reasons

register = template.Library()


@register.simple_tag
def explain_undelivered(incident: Incident, events: Iterable[IncidentEvent]) -> list[tuple[IncidentEvent, str]]:
    """The timeline: each event, and why no one was notified of it."""
    return undelivered_reasons.explain(incident, events)
