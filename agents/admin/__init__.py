"""The admin's pages of this app, one file a noun; `pages.py` and `first_steps.py` have those of no model."""

from agents import first_steps, pages
from agents.admin import agents, commands, incidents, maintenance, projects
from teams.site import Site

__all__ = ["agents", "commands", "incidents", "maintenance", "projects"]

Site.pages.extend([*pages.urls(), *first_steps.urls()])
