"""Times and status pills as every page shows them. Times are in the viewer's zone, set by `teams.timezone_middleware`.

Pages that show relative times put `now` into their context.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from teams import actors, times

register = template.Library()
register.filter("duration", times.duration)
register.filter("who", actors.shown)


@register.simple_tag(takes_context=True)
def ago(context: Any, at: datetime | None, empty: str = "never") -> SafeString | str:
    """A past time as `34 s ago`, a future one as `in 3 days`; the tooltip holds the exact time."""
    if at is None:
        return empty
    tooltip = times.exact(at, timezone.get_current_timezone())
    relative = times.relative(at, context["now"])
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), tooltip, relative)


@register.simple_tag(takes_context=True)
def column(context: Any, label: str, name: str = "") -> SafeString:
    """The head of a column; a link that sorts by it, if the list can be sorted by `name`."""
    order = context.get("sorting")
    head = order.columns.get(name) if order else None
    if head is None:
        return format_html('<th scope="col">{}</th>', label)
    state = format_html(' aria-sort="{}"', head.direction) if head.direction else ""
    return format_html('<th scope="col"{}><a class="w-sort" href="{}">{}</a></th>', state, head.url, label)


@register.simple_tag
def exact(at: datetime | None, empty: str = "–") -> SafeString | str:
    """A time to the second."""
    if at is None:
        return empty
    text = times.exact(at, timezone.get_current_timezone())
    return format_html('<time datetime="{}">{}</time>', at.isoformat(), text)


@register.simple_tag
def pill(tone: str, icon: str, text: str) -> SafeString:
    """A state as text with an icon. `tone` is an agent status, such as `ok` or `down`, whose color is used."""
    icon_span = '<span class="w-icon material-symbols-outlined" aria-hidden="true">{}</span>'
    return format_html('<span class="w-badge w-is-{}">' + icon_span + "{}</span>", tone, icon, text)
