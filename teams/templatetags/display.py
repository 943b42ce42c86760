"""What every page shows alike: times, in the person's zone, which `teams.timezone_middleware` has set, and states.

`now` is in the context of each page that says how long ago something was.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from teams import times

register = template.Library()
register.filter("duration", times.duration)


@register.simple_tag(takes_context=True)
def ago(context: Any, at: datetime | None, empty: str = "never") -> SafeString | str:
    """A time as `34 s ago` or, of one to come, `in 3 days`, with the exact time on top of it."""
    if at is None:
        return empty
    said = times.exact(at, timezone.get_current_timezone())
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), said, times.away(at, context["now"]))


@register.simple_tag
def exact(at: datetime | None, empty: str = "–") -> SafeString | str:
    """A time to the second."""
    if at is None:
        return empty
    said = times.exact(at, timezone.get_current_timezone())
    return format_html('<time datetime="{}">{}</time>', at.isoformat(), said)


@register.simple_tag
def pill(tone: str, icon: str, text: str) -> SafeString:
    """A state in words, with an icon and a colour: `tone` is a status that has the colour, as `ok` or `down`."""
    drawn = '<span class="w-icon material-symbols-outlined" aria-hidden="true">{}</span>'
    return format_html('<span class="w-badge w-is-{}">' + drawn + "{}</span>", tone, icon, text)
