"""The pages of agents and incidents."""

from agents.admin import agents, incidents

__all__ = ["agents", "incidents"]
