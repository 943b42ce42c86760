"""Agents, their hot rows, heartbeats, incidents and commands.

Money is stored in whole micro-dollars, times are UTC by the server's clock, durations are seconds.
"""

from agents.models.agent import Agent, AgentName, RestartType, Status
from agents.models.command import Command, Runner
from agents.models.door import DoorNote
from agents.models.heartbeat import Heartbeat, MonthSpend, Rollup
from agents.models.incident import (
    Incident,
    IncidentEvent,
    IncidentQuerySet,
    Severity,
    Signal,
    SignalKind,
    kind_label,
    naming_signals,
)
from agents.models.job import Job
from agents.models.maintenance import Maintenance
from agents.models.outage import Outage, Pulse
from agents.models.state import AgentMemory, AgentState, Unread
from agents.models.stream import StreamEvent
from agents.models.webhook import IncomingWebhook, OutsideEvent

__all__ = [
    "Agent",
    "AgentMemory",
    "AgentName",
    "AgentState",
    "Command",
    "DoorNote",
    "Heartbeat",
    "Incident",
    "IncidentEvent",
    "IncidentQuerySet",
    "IncomingWebhook",
    "Job",
    "Maintenance",
    "MonthSpend",
    "Outage",
    "OutsideEvent",
    "Pulse",
    "RestartType",
    "Rollup",
    "Runner",
    "Severity",
    "Signal",
    "SignalKind",
    "Status",
    "StreamEvent",
    "Unread",
    "kind_label",
    "naming_signals",
]
