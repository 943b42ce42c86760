"""Whether an agent may be restarted. Pure: no Django, no clock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` says what to do when it is not allowed."""

    allowed: bool
    reason: str = ""


def may_restart(policy: str) -> Verdict:
    """A restart that a person asks for: also while the agent waits or loops, never against its policy."""
    if policy == "off":
        return Verdict(False, "Restarts are off for this agent: set restart_policy to manual or auto first.")
    return Verdict(True)
