"""The audit log, in plain words and with links to the objects that still exist. Services write it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from teams import audit_lines, times
from teams.changelists import Empty, TeamTableAdmin
from teams.models import AuditEntry
from teams.sorting import Sort

ISO_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT")
# `action` -> verb phrase, followed by the target. `{command}` is restart or stop. Other actions are shown as they are.
PHRASES: Final = {
    "account.email_added": "added an e-mail address to",
    "account.email_removed": "removed an e-mail address of",
    "account.email_changed": "changed the e-mail address of",
    "account.profile_changed": "changed the profile of",
    "account.changed_by_operator": "changed, as operator, the account of",
    "account.password_changed": "changed the password of",
    "account.password_reset": "reset the password of",
    "account.sessions_ended": "signed out other browsers of",
    "account.signed_in": "signed in as",
    "account.second_factor_added": "added a second factor to",
    "account.second_factor_removed": "removed a second factor from",
    "account.second_factor_reset": "renewed the recovery codes of",
    "agent.aliases_changed": "changed the aliases of",
    "agent.changed": "changed settings of",
    "agent.created": "created the agent",
    "agent.deleted": "deleted the agent",
    "agent.over_plan": "stopped monitoring, because the plan's agent limit is reached:",
    "agent.held": "put on hold",
    "agent.hold_ended": "ended the hold of",
    "agent.paused": "paused monitoring of",
    "agent.released": "released the names of",
    "agent.resumed": "resumed monitoring of",
    "agent.within_plan": "started monitoring, now within the plan's agent limit:",
    "channel.changed": "changed the channel",
    "channel.created": "created the channel",
    "channel.deleted": "deleted the channel",
    "channel.switched_off": "disabled the channel",
    "channel.switched_on": "enabled the channel",
    "channel.secret_rotated": "rotated the secret of the channel",
    "channel.tested": "sent a test to the channel",
    "command.completed": "completed a {command} of",
    "command.expired": "expired a {command} of",
    "command.failed": "failed a {command} of",
    "command.granted": "got permission to restart",
    "command.handed_out": "received a {command} for",
    "command.refused": "rejected a {command} of",
    "command.requested": "requested a {command} of",
    "command.superseded": "replaced a {command} of",
    "incident.acknowledge": "acknowledged incident",
    "incident.mute": "muted incident",
    "incident.unmute": "unmuted incident",
    "incident.note": "added a note to incident",
    "incident.snooze": "snoozed incident",
    "incident.unsnooze": "ended the snooze of incident",
    "incident.resolve": "resolved incident",
    "invitation.withdrawn": "withdrew the invitation of",
    "key.created": "created the API key",
    "key.changed": "changed the API key",
    "key.renamed": "renamed the API key",
    "key.revoked": "revoked the API key",
    "key.rotated": "rotated the API key",
    "maintenance.began": "started maintenance of",
    "maintenance.ended": "ended maintenance of",
    "maintenance.planned": "scheduled maintenance of",
    "member.added": "joined the team:",
    "member.changed": "changed the role of",
    "member.invited": "invited",
    "member.removed": "removed the member",
    "plan.changed": "changed the plan to",
    "plan.storage_full": "stopped storing details of heartbeats until midnight UTC, for lack of storage in the plan:",
    "policy.changed": "changed the notification policy of",
    "policy.deleted": "deleted the notification policy of",
    "rotation.changed": "changed the on-call rotation",
    "rotation.deleted": "deleted the on-call rotation",
    "project.changed": "changed settings of the project",
    "project.created": "created the project",
    "project.deleted": "deleted the project",
    "project.repriced": "recalculated spend in the project",
    "restart.proven": "saw progress after a restart of",
    "sign_on.break_glass": "got, as operator, a link past single sign-on for",
    "sign_on.changed": "changed the single sign-on",
    "sign_on.created": "set up the single sign-on",
    "sign_on.deleted": "removed the single sign-on",
    "sign_on.domain_added": "added the sign-in domain",
    "sign_on.domain_proven": "verified the sign-in domain",
    "sign_on.domain_removed": "removed the sign-in domain",
    "sign_on.refused": "was refused by single sign-on as",
    "sign_on.tested": "tested the single sign-on",
    "team.changed": "renamed the team to",
    "team.created": "created the team",
    "team.deleted": "deleted the team",
    "team.exported": "downloaded all data of the team",
    "team.second_factor_required": "changed whether two-factor authentication is required in",
    "webhook.changed": "changed the incoming webhook",
    "webhook.created": "created the incoming webhook",
    "webhook.deleted": "deleted the incoming webhook",
    "webhook.secret_replaced": "replaced the secret of the incoming webhook",
}

# The first part of an action, where it is not the word for the object.
NOUNS: Final = {
    "command": "restart or stop",
    "key": "API key",
    "restart": "restart outcome",
    "sign_on": "single sign-on",
}


@dataclass(frozen=True, slots=True)
class Row:
    """An entry as it is shown; `url` is empty if the object no longer exists."""

    entry: AuditEntry
    verb: str
    url: str
    details: str


def verb_phrase(entry: AuditEntry) -> str:
    phrase = PHRASES.get(entry.action)
    return phrase.format(command=entry.data.get("action", "command")) if phrase else entry.action


def details(data: dict[str, Any]) -> str:
    """The data of an entry in one line: `changed: name, labels; kind: email`."""
    if {"from", "to"} <= data.keys():
        change = f"from {data['from'] or 'none'} to {data['to']}"
        rest = details({name: value for name, value in data.items() if name not in ("from", "to")})
        return "; ".join(filter(None, [change, rest]))
    parts = [(name.replace("_", " "), _text(value)) for name, value in data.items()]
    return "; ".join(f"{name}: {text}" for name, text in parts if text)


def _text(value: Any) -> str:
    if isinstance(value, dict) and {"from", "to"} == value.keys():
        return f"from {_text(value['from']) or 'none'} to {_text(value['to']) or 'none'}"
    if isinstance(value, dict):
        return ", ".join(f"{name}={_text(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(_text(part) for part in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else _localize(str(value))


def _localize(text: str) -> str:
    """Format an ISO timestamp like other times, in the viewer's zone; return any other text unchanged."""
    try:
        at = datetime.fromisoformat(text) if ISO_TIMESTAMP.match(text) else None
    except ValueError:
        at = None
    return times.exact(at, timezone.get_current_timezone()) if at and at.tzinfo else text


class ObjectFilter(admin.SimpleListFilter):
    """The history of one object, linked from its page: `?of=alerts.channel:5`."""

    title, parameter_name = "object", "of"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Only offered while it is selected."""
        of = request.GET.get("of")
        return [(of, of.partition(".")[2].replace(":", " "))] if of else []

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(of=self.value()) if self.value() else queryset


class ObjectTypeFilter(admin.SimpleListFilter):
    """By the type of the object, the noun of the action."""

    title, parameter_name = "type", "what"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        nouns = sorted({action.partition(".")[0] for action in PHRASES})
        return [(noun, NOUNS.get(noun, noun)) for noun in nouns]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(action__startswith=f"{self.value()}.") if self.value() else queryset


@admin.register(AuditEntry)
class AuditPage(TeamTableAdmin):
    team_path = "team"
    add_action = change_action = delete_action = None
    table_template = "teams/admin/audit_table.html"
    list_display = ["action", "target"]  # the table template shows more
    list_filter = ["team", ObjectTypeFilter, ObjectFilter]
    unsaved_filters = ("of",)
    list_select_related = ["team"]
    search_fields = ["actor", "action", "target"]
    search_help_text = "Search people and objects"
    sorts = (Sort("when", "When", "at", newest_first=True),)
    show_full_result_count = False
    fields = ["at", "team", "actor", "action", "target", "data_details"]
    readonly_fields = ["data_details"]
    has_history = False
    empty = Empty(
        "No entries yet",
        "Every change made by people, API keys and the watchdog itself is recorded here permanently.",
    )

    def get_urls(self) -> list[URLPattern]:
        export = self.admin_site.admin_view(self.export)
        return [path("export/", export, name="teams_auditentry_export"), *super().get_urls()]

    def export(self, request: HttpRequest) -> StreamingHttpResponse:
        """What the list shows, oldest first, as JSON lines."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        entries = self.get_changelist_instance(request).get_queryset(request).order_by("pk")
        lines = (audit_lines.line(entry) for entry in entries.select_related("team").iterator(chunk_size=1000))
        headers = {"Content-Disposition": 'attachment; filename="audit-log.jsonl"'}
        return StreamingHttpResponse(lines, content_type="application/x-ndjson", headers=headers)

    @admin.display(description="Details")
    def data_details(self, obj: AuditEntry) -> str:
        return details(obj.data) or "–"

    def table(self, request: HttpRequest, changelist: ChangeList, now: datetime) -> dict[str, Any]:
        entries = list(changelist.result_list)
        urls = _urls(request, entries)
        rows = [
            Row(
                entry=entry,
                verb=verb_phrase(entry),
                url=urls.get(entry.of, ""),
                details=details(entry.data),
            )
            for entry in entries
        ]
        return {"rows": rows}


def _urls(request: HttpRequest, entries: Iterable[AuditEntry]) -> dict[str, str]:
    """`of` -> URL, for objects that exist and that the person can see. One query per model."""
    ids_by_label: dict[str, set[int]] = {}
    for entry in entries:
        label, _, pk = entry.of.partition(":")
        if pk.isdecimal():
            ids_by_label.setdefault(label, set()).add(int(pk))
    pages = {model._meta.label_lower: page for model, page in admin.site._registry.items()}
    return {
        f"{label}:{pk}": reverse(f"admin:{label.replace('.', '_')}_change", args=[pk])
        for label, pks in ids_by_label.items()
        if label in pages
        for pk in pages[label].get_queryset(request).filter(pk__in=pks).order_by().values_list("pk", flat=True)
    }
