"""Runs an agent twice in one process: once with model calls captured, once without; as agents of these names."""

from __future__ import annotations

import contextlib
import logging
from typing import Callable

import clevagent
from clevagent import capture

AGENTS = {"captured": True, "uncaptured": False}


class Loud(logging.Handler):
    """What an integration would only log ends the program."""

    def emit(self, record: logging.LogRecord) -> None:
        raise SystemExit(f"clevagent logged: {self.format(record)}")


def run(*scenarios: Callable[[], object]) -> None:
    """Each scenario once for each agent. What one raises is its own affair, as in a program that goes on."""
    logging.getLogger("clevagent").addHandler(Loud(logging.WARNING))
    for agent, auto_cost in AGENTS.items():
        clevagent.init(agent=agent, auto_cost=auto_cost)
        for scenario in scenarios:
            with contextlib.suppress(Exception):
                scenario()
        clevagent.shutdown()
        capture.uninstall()
