"""Who the agent is, and which process or session of it. Pure.

What a person set comes first, then what the item says of itself, then what stands around it in its trace, then the
project's rule, and last the service: one agent per service.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from agents.domain.wire.names import agent_name
from agents.doors.dialects import codex
from agents.doors.facts import Origin
from agents.doors.notes import Recall
from agents.doors.otlp.telemetry import Resource

# A person's choice, then the entity of the GenAI conventions' drafts.
SET: Final = ("agent.name", "gen_ai.main_agent.name", "gen_ai.main_agent.id")
# The conventions' names of an agent say more on a span, so a resource's come after them.
AROUND: Final = ("gen_ai.agent.name", "gen_ai.agent.id")
UNKNOWN: Final = "unknown_service"
# Services that every installation of a program has in common: they name no agent.
SHARED: Final = {"claude-code", "gemini-cli", "litellm", "openclaw", "opencode"}
HOST: Final = ("host.name", "k8s.pod.name", "container.name")
PARTS: Final = ("service", "session", "host", "instance")
_PART: Final = re.compile(r"\{(" + "|".join(PARTS) + r")\}")


class Named(NamedTuple):
    """`is_fallback`: nothing named the agent, so the service or the project's rule does."""

    name: str
    is_fallback: bool


def agent_of(origin: Origin, recall: Recall, rule: str = "") -> Named:
    """The agent of something that happened there. `rule` is the project's, such as `{service} on {host}`."""
    resource = origin.resource
    told = resource.first(SET) or origin.agent or recall.name_above(origin.trace, origin.span or origin.parent)
    name = agent_name(told or resource.first(AROUND))
    if name:
        return Named(name, is_fallback=False)
    service = agent_name(resource.text("service.name")) or UNKNOWN
    return Named(agent_name(_ruled(rule, origin)) or service, is_fallback=True)


def _ruled(rule: str, origin: Origin) -> str:
    """The name by the project's rule; empty if a part of it is unknown."""
    resource = origin.resource
    parts = {
        "service": resource.text("service.name"),
        "session": origin.session,
        "host": host_of(resource),
        "instance": resource.text("service.instance.id"),
    }
    if not rule or not all(parts[name] for name in _PART.findall(rule)):
        return ""
    return _PART.sub(lambda found: parts[found[1]], rule)


def host_of(resource: Resource) -> str:
    return resource.first(HOST)


def is_shared(service: str) -> bool:
    """Whether a service's name is a program's default, so that unrelated agents have it."""
    return service.startswith(UNKNOWN) or service in SHARED or codex.SERVICE.fullmatch(service) is not None


def instance_of(origin: Origin) -> str:
    """A session is a run; without one, the process that the resource names. At most 64 characters."""
    return (origin.session or origin.resource.text("service.instance.id"))[:64]
