"""Where a page of the admin is: the heading that every page has. Parts follow the side bar, not Django's apps."""

from __future__ import annotations

from typing import Any, NamedTuple

from django import template
from django.urls import reverse

from teams.links import on_site
from watchdog_project import navigation

register = template.Library()


class Part(NamedTuple):
    """`link` is empty for a part that is no page of its own."""

    title: Any
    link: str = ""


@register.inclusion_tag("agents/help.html", takes_context=True)
def page_help(context: Any) -> dict[str, str]:
    """A link to what the documentation says about this page, beside its title."""
    opts, request = context.get("opts"), context["request"]
    section, about = navigation.help_for(opts.label_lower if opts else request.path_info)
    return {"url": on_site(f"{navigation.HELP}{section}"), "about": about}


@register.inclusion_tag("unfold/helpers/header_title.html", takes_context=True)
def breadcrumbs(context: Any) -> dict[str, list[Part]]:
    """Group, list and row; else the page's title."""
    opts = context.get("opts")
    title = context.get("title") or context.get("content_title")
    if opts is None:
        return {"parts": [Part(title)] if title else []}
    name = f"admin:{opts.app_label}_{opts.model_name}"
    parts = [Part(navigation.group_of(opts.label_lower)), Part(opts.verbose_name_plural, reverse(f"{name}_changelist"))]
    row = context.get("original") or context.get("object")
    if row is not None and not isinstance(row, str):
        parts.append(Part(row, reverse(f"{name}_change", args=[row.pk])))
    elif context.get("cl") is None and title and str(title).lower() != str(opts.verbose_name_plural).lower():
        parts.append(Part(title))
    return {"parts": [part for part in parts if part.title]}
