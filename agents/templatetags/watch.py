"""What the pages of agents and incidents say. Times are said by `teams.templatetags.display`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from agents import standing, wording
from agents.models import Incident, Status
from teams import times

register = template.Library()
register.filter("money", lambda micros: wording.money(micros or 0))
register.filter("number", lambda number: wording.count(number or 0))
register.filter("short", wording.short)
# For drawings, whose numbers have a point everywhere.
register.filter("unlocalized", lambda number: str(number))

ICONS: Final[dict[str, str]] = {
    Status.DOWN: "error",
    Status.STALLED: "hourglass_disabled",
    Status.WARNING: "warning",
    standing.LOOPING: "autorenew",
    standing.OVER_BUDGET: "payments",
    Status.LATE: "schedule",
    Status.WAITING: "hourglass_top",
    Status.OK: "check_circle",
    Status.NEW: "fiber_new",
    Status.STOPPED: "stop_circle",
    Status.PAUSED: "pause_circle",
    Incident.State.OPEN: "notifications_active",
    Incident.State.ACKNOWLEDGED: "visibility",
    Incident.State.RESOLVED: "check_circle",
}


@register.simple_tag
def badge(state: str, label: str = "") -> SafeString:
    """A status in words, with its icon and colour."""
    icon = '<span class="w-icon material-symbols-outlined" aria-hidden="true">{}</span>'
    return format_html('<span class="w-badge w-is-{}">' + icon + "{}</span>", state, ICONS[state], label or state)


@register.simple_tag(takes_context=True)
def between(context: Any, start: datetime, end: datetime | None) -> str:
    """How long something lasted, or has lasted so far."""
    return times.duration(((end or context["now"]) - start).total_seconds())


@register.simple_tag
def evidence(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """What a signal stands on, as label and text."""
    return wording.rows(facts, timezone.get_current_timezone())
