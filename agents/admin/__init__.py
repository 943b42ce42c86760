"""The admin pages of this app, one file per model; `fleet.py` and `first_steps.py` have pages without a model."""

from agents.admin import agents, commands, first_steps, fleet, incidents, maintenance, projects
from agents.admin.doors import webhooks
from teams.site import Site

__all__ = ["agents", "commands", "incidents", "maintenance", "projects", "webhooks"]

Site.pages.extend([*fleet.urls(), *first_steps.urls()])
