"""The exceptions that stop an agent. Nothing raises them unless the program asked for it."""

from __future__ import annotations


class Stop(Exception):  # noqa: N818 - not an error of the program
    """The agent must not make its next model call.

    `reason` is a sentence with the evidence, `incident` and `url` the server's incident, if there is one.
    """

    def __init__(self, reason: str, incident: int | None = None, url: str | None = None) -> None:
        super().__init__(reason, incident, url)
        self.reason, self.incident, self.url = reason, incident, url

    def __str__(self) -> str:
        return f"{self.reason} ({self.url})" if self.url else self.reason


class BudgetExceeded(Stop):
    """A budget is used up: one of the server's, `cost_limit_usd`, or a local `Budget`."""


class LoopDetected(Stop):
    """The agent repeats itself, as the server or a local `LoopGuard` found."""


class Held(Stop):
    """The server holds the agent for another reason, such as a person's stop."""
