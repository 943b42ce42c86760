"""The project of `tests/agents`, in which time passes only when a test says so."""

from tests.agents.conftest import world

__all__ = ["world"]
