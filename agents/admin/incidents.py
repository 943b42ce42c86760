"""The list of incidents, and an incident's page."""

from django.contrib import admin

from agents.models import Incident
from teams.scoping import TeamAdmin


@admin.register(Incident)
class IncidentAdmin(TeamAdmin):
    list_display = ("agent", "kind", "opened_at")
    add_action = None
    change_action = None
    delete_action = None
