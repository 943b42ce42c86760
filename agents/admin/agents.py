"""The list of agents, and an agent's page."""

from django.contrib import admin

from agents.models import Agent
from teams.scoping import TeamAdmin


@admin.register(Agent)
class AgentAdmin(TeamAdmin):
    list_display = ("name", "project")
    search_fields = ("name",)
