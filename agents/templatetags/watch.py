"""Filters and tags of the pages about agents and incidents. Times are in `teams.templatetags.display`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django import template
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from agents.domain.redaction import redacted
from agents.models import Incident, Signal, Status
from agents.reporting import agent_status, formatting
from agents.rules.facts import Finding
from teams import times
from teams.links import on_site

# Where the documentation is served.
DOCS = "/docs/"
register = template.Library()
register.filter("money", lambda micros: formatting.money(micros or 0))
register.filter("number", lambda number: formatting.count(number or 0))
register.filter("short", formatting.short)
register.filter("plain", formatting.plain)
register.filter("redacted", lambda text: redacted(str(text)))
# SVG attributes need a decimal point in every locale.
register.filter("unlocalized", lambda number: str(number))

ICONS: Final[dict[str, str]] = {
    Status.DOWN: "error",
    Status.STALLED: "hourglass_disabled",
    Status.WARNING: "warning",
    agent_status.LOOPING: "autorenew",
    agent_status.OVER_BUDGET: "payments",
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


@register.filter
def code(text: str) -> SafeString:
    """A sentence with its `code` marked up; everything else is escaped."""
    shown = (
        format_html("<code>{}</code>", part) if is_code else part for part, is_code in formatting.pieces(str(text))
    )
    return format_html_join("", "{}", ((part,) for part in shown))


@register.simple_tag
def badge(state: str, label: str = "") -> SafeString:
    """A status label with its icon and colour."""
    icon = '<span class="w-icon material-symbols-outlined" aria-hidden="true">{}</span>'
    return format_html('<span class="w-badge w-is-{}">' + icon + "{}</span>", state, ICONS[state], label or state)


@register.filter
def exactly(at: datetime) -> str:
    """A time to the second, as plain text."""
    return times.exact(at, timezone.get_current_timezone())


@register.simple_tag(takes_context=True)
def between(context: Any, start: datetime, end: datetime | None) -> str:
    """The duration of something, up to now if it is ongoing."""
    return times.duration(((end or context["now"]) - start).total_seconds())


@register.filter
def explained(signal: Signal | Finding) -> formatting.Explanation:
    """The evidence of a signal or finding, labelled."""
    return formatting.explained(signal.kind, signal.evidence, timezone.get_current_timezone())


@register.inclusion_tag("agents/help.html")
def help_link(page: str, about: str) -> dict[str, str]:
    """A small link to a documentation page, e.g. `glossary/#deadline`; `about` completes "Learn more about"."""
    return {"url": on_site(f"{DOCS}{page}"), "about": about}
