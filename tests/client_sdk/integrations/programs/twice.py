"""Runs an agent twice in one process, with model calls captured and uncaptured; the agents are named accordingly."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

import clevagent
from clevagent import capture

# Nothing listens there.
NOWHERE = "http://127.0.0.1:9/v1"
AGENTS = {"captured": True, "uncaptured": False}


class Heard(logging.Handler):
    """Errors that an integration only logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))


def run(*scenarios: Callable[[], object]) -> None:
    """Run each scenario once per agent, each to its end: an exception that ends it was not handled."""
    heard = Heard()
    logging.getLogger("clevagent").addHandler(heard)
    for agent, auto_cost in AGENTS.items():
        clevagent.init(agent=agent, auto_cost=auto_cost)
        for scenario in scenarios:
            with contextlib.suppress(Exception):
                scenario()
            clevagent.flush()
        clevagent.shutdown()
        capture.uninstall()
    if heard.said:
        raise SystemExit("\n".join(heard.said))
