"""The admin's pages of this app, one file a noun; `fleet.py` and `first_steps.py` have those of no model."""

from agents.admin import agents, commands, first_steps, fleet, incidents, maintenance, projects
from teams.site import Site

__all__ = ["agents", "commands", "incidents", "maintenance", "projects"]

Site.pages.extend([*fleet.urls(), *first_steps.urls()])
