"""Restarts and stops, newest first: who requested them, and the result."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from agents.admin.filters import AGENT, AgentFilter
from agents.admin.live import LiveList
from agents.models import Command
from teams.changelists import Empty
from teams.sorting import Sort


@admin.register(Command)
class CommandPage(LiveList):
    team_path = "agent__project__team"
    add_action = change_action = delete_action = None
    table_template = "agents/commands_table.html"
    list_display = ["action", "agent"]  # used in sentences; the table shows more
    sortable_by = ()
    list_filter = ["state", "action", AgentFilter]
    unsaved_filters = (AGENT,)
    list_select_related = ["agent__project__team"]
    sorts = (
        Sort("action", "Action", "action"),
        Sort("agent", "Agent", "agent__name"),
        Sort("state", "State", "state"),
        Sort("requested", "Requested", "created_at", newest_first=True),
    )
    search_fields = ["agent__name", "target", "requested_by"]
    actions = None
    empty = Empty(
        "No restarts or stops yet",
        "Each restart or stop is listed here with its result. A runner carries them out; the buttons are on the "
        "agent’s page.",
    )
    fields = [
        "agent", "action", "type", "target", "state", "result", "requested_by", "reason",
        "runner", "created_at", "expires_at", "leased_at", "finished_at",
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("agent__project__team")
