"""The audit log: written by services, read here."""

from django.contrib import admin

from teams.models import AuditEntry
from teams.scoping import TeamAdmin


@admin.register(AuditEntry)
class AuditPage(TeamAdmin):
    team_path = "team"
    add_action = change_action = delete_action = None
    list_display = ["at", "actor", "action", "target", "team"]
    list_filter = ["team"]
    list_select_related = ["team"]
    search_fields = ["actor", "action", "target"]
    show_full_result_count = False
    fields = ["at", "team", "actor", "action", "target", "data"]
