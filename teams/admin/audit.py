"""The audit log: written by services, read here, in words and with links to what is still there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from teams import times
from teams.changelists import Empty, TableList
from teams.models import AuditEntry

MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT")
# `action` -> what a person did, before its target. What is not here is said as it stands.
WORDS: Final = {
    "agent.aliases_changed": "changed the names of",
    "agent.changed": "changed settings of",
    "agent.created": "made the agent",
    "agent.deleted": "deleted the agent",
    "agent.over_plan": "took from the plan, which has no place for",
    "agent.paused": "paused",
    "agent.resumed": "resumed",
    "agent.within_plan": "gave a place in the plan to",
    "channel.changed": "changed the channel",
    "channel.created": "made the channel",
    "channel.deleted": "deleted the channel",
    "channel.switched_off": "switched off the channel",
    "channel.switched_on": "switched on the channel",
    "channel.secret_rotated": "gave a new secret to the channel",
    "channel.tested": "sent a test to",
    "command.completed": "finished a command for",
    "command.expired": "let a command expire for",
    "command.failed": "failed at a command for",
    "command.granted": "was allowed to restart",
    "command.handed_out": "took a command for",
    "command.refused": "refused a command for",
    "command.requested": "asked for a command for",
    "command.superseded": "replaced a command for",
    "incident.acknowledge": "acknowledged the incident of",
    "incident.mute": "muted the incident of",
    "incident.note": "noted on the incident of",
    "incident.resolve": "resolved the incident of",
    "invitation.withdrawn": "withdrew the invitation of",
    "key.created": "made the key",
    "key.renamed": "renamed the key",
    "key.revoked": "revoked the key",
    "key.rotated": "rotated the key",
    "maintenance.began": "began the maintenance of",
    "maintenance.ended": "ended the maintenance of",
    "maintenance.planned": "planned a maintenance of",
    "member.added": "became a member:",
    "member.changed": "gave another role to",
    "member.invited": "invited",
    "member.removed": "removed the member",
    "plan.changed": "moved the team to the plan",
    "project.changed": "changed settings of the project",
    "project.created": "made the project",
    "project.deleted": "deleted the project",
    "project.repriced": "priced again what was spent in the project",
    "restart.proven": "saw progress after the restart of",
    "team.changed": "renamed the team to",
    "team.created": "made the team",
}


@dataclass(frozen=True, slots=True)
class Line:
    """An entry as it is shown; `url` is empty where nothing is left to go to."""

    entry: AuditEntry
    did: str
    url: str
    details: str


def details(data: dict[str, Any]) -> str:
    """What an entry knows besides, in a line: `changed: name, labels; kind: email`."""
    if {"from", "to"} <= data.keys():
        moved = f"from {data['from'] or 'none'} to {data['to']}"
        return "; ".join(filter(None, [moved, details({k: v for k, v in data.items() if k not in ("from", "to")})]))
    parts = [(name.replace("_", " "), _text(value)) for name, value in data.items()]
    return "; ".join(f"{name}: {text}" for name, text in parts if text)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(_text(one) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else _moment(str(value))


def _moment(text: str) -> str:
    """A time as the page says times, in the person's zone; any other text as it is."""
    try:
        at = datetime.fromisoformat(text) if MOMENT.match(text) else None
    except ValueError:
        at = None
    return times.exact(at, timezone.get_current_timezone()) if at and at.tzinfo else text


class AboutFilter(admin.SimpleListFilter):
    """One row's own history, as its page links to it: `?of=alerts.channel:5`."""

    title = parameter_name = "of"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offered while it is chosen."""
        of = request.GET.get("of")
        return [(of, f"only {of.partition('.')[2].replace(':', ' ')}")] if of else []

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(of=self.value()) if self.value() else queryset


class WhatFilter(admin.SimpleListFilter):
    """By what it was done to: the noun of the action."""

    title, parameter_name = "kind of thing", "what"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(noun, noun) for noun in sorted({action.partition(".")[0] for action in WORDS})]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(action__startswith=f"{self.value()}.") if self.value() else queryset


@admin.register(AuditEntry)
class AuditPage(TableList):
    team_path = "team"
    add_action = change_action = delete_action = None
    table_template = "teams/admin/audit_table.html"
    list_display = ["action", "target"]  # in words; the table shows more
    list_filter = ["team", WhatFilter, AboutFilter]
    passing = ("of",)
    list_select_related = ["team"]
    search_fields = ["actor", "action", "target"]
    search_help_text = "Search people and things"
    show_full_result_count = False
    fields = ["at", "team", "actor", "action", "target", "known"]
    readonly_fields = ["known"]
    has_history = False
    empty = Empty(
        "Nothing was done yet",
        "Whatever people, keys and the watchdog itself change in your teams is noted here, and stays.",
    )

    @admin.display(description="Details")
    def known(self, obj: AuditEntry) -> str:
        return details(obj.data) or "–"

    def table(self, request: HttpRequest, found: ChangeList, now: datetime) -> dict[str, Any]:
        entries = list(found.result_list)
        there = _there(request, entries)
        lines = [
            Line(one, WORDS.get(one.action, one.action), there.get(one.of, ""), details(one.data)) for one in entries
        ]
        return {"rows": lines}


def _there(request: HttpRequest, entries: Iterable[AuditEntry]) -> dict[str, str]:
    """`of` -> address, of the rows that exist and that the person may see; one query a kind."""
    wanted: dict[str, set[int]] = {}
    for entry in entries:
        label, _, pk = entry.of.partition(":")
        if pk.isdecimal():
            wanted.setdefault(label, set()).add(int(pk))
    pages = {model._meta.label_lower: page for model, page in admin.site._registry.items()}
    return {
        f"{label}:{pk}": reverse(f"admin:{label.replace('.', '_')}_change", args=[pk])
        for label, pks in wanted.items()
        if label in pages
        for pk in pages[label].get_queryset(request).filter(pk__in=pks).order_by().values_list("pk", flat=True)
    }
