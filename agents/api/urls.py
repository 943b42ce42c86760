"""The addresses of agents, incidents and commands, below `/api/v1/`."""

from typing import Any, Final

from django.urls import path

from agents.api import agents, commands, heartbeats, history, incidents, maintenance, rules, status
from agents.api.jobs import schedules
from agents.api.stream import events

# Each address below an agent also takes its name, which may contain slashes; the last part decides.
OF_AN_AGENT: Final[dict[str, Any]] = {
    "/health": agents.HealthView,
    "/pause": agents.PauseView,
    "/resume": agents.ResumeView,
    "/release": agents.ReleaseView,
    "/hold": agents.HoldView,
    "/restart": agents.RestartView,
    "/stop": agents.StopView,
    "/schedule": schedules.ScheduleView,
    "/heartbeats": history.HeartbeatsView,
    "/timeline": history.TimelineView,
    "": agents.OneAgentView,
}

urlpatterns = [
    path("heartbeat", heartbeats.HeartbeatView.as_view(), name="api_heartbeat"),
    path("heartbeat/batch", heartbeats.BatchView.as_view(), name="api_heartbeat_batch"),
    path("status", status.StatusView.as_view(), name="api_status"),
    path("agents", agents.AgentsView.as_view(), name="api_agents"),
    path("agents/<int:pk>", agents.OneAgentView.as_view(), name="api_agent"),
    path("agents/<int:pk>/pause", agents.PauseView.as_view(), name="api_agent_pause"),
    path("agents/<int:pk>/resume", agents.ResumeView.as_view(), name="api_agent_resume"),
    path("agents/<int:pk>/release", agents.ReleaseView.as_view(), name="api_agent_release"),
    path("agents/<int:pk>/hold", agents.HoldView.as_view(), name="api_agent_hold"),
    path("agents/<int:pk>/restart", agents.RestartView.as_view(), name="api_agent_restart"),
    path("agents/<int:pk>/stop", agents.StopView.as_view(), name="api_agent_stop"),
    path("agents/<int:pk>/health", agents.HealthView.as_view(), name="api_agent_health"),
    path("agents/<int:pk>/schedule", schedules.ScheduleView.as_view(), name="api_agent_schedule"),
    path("agents/<int:pk>/heartbeats", history.HeartbeatsView.as_view(), name="api_agent_heartbeats"),
    path("agents/<int:pk>/timeline", history.TimelineView.as_view(), name="api_agent_timeline"),
    # Not in the OpenAPI document: the same operations.
    *(path(f"agents/by-name/<path:name>{end}", view.as_view(schema=None)) for end, view in OF_AN_AGENT.items()),
    path("agents/<str:name>/health", agents.HealthView.as_view(schema=None)),
    path("incidents", incidents.IncidentsView.as_view(), name="api_incidents"),
    path("incidents/<int:pk>", incidents.OneIncidentView.as_view(), name="api_incident"),
    path("incidents/<int:pk>/acknowledge", incidents.AcknowledgeView.as_view(), name="api_incident_acknowledge"),
    path("incidents/<int:pk>/snooze", incidents.SnoozeView.as_view(), name="api_incident_snooze"),
    path("incidents/<int:pk>/resolve", incidents.ResolveView.as_view(), name="api_incident_resolve"),
    path("events", events.EventsView.as_view(), name="api_events"),
    path("maintenance", maintenance.WindowsView.as_view(), name="api_maintenance"),
    path("maintenance/<int:pk>", maintenance.OneWindowView.as_view(), name="api_maintenance_window"),
    path("rules", rules.RulesView.as_view(), name="api_rules"),
    path("rules/try", rules.TryView.as_view(), name="api_rules_try"),
    path("commands", commands.CommandsView.as_view(), name="api_commands"),
    path("commands/<int:pk>/result", commands.ResultView.as_view(), name="api_command_result"),
]
