"""The admin's pages of this app, one file a noun; `pages.py` has those that belong to no model."""

from agents import pages
from agents.admin import agents, commands, incidents, maintenance, projects
from teams.site import Site

__all__ = ["agents", "commands", "incidents", "maintenance", "projects"]

Site.pages.extend(pages.urls())
