"""Examples for the OpenAPI document: one agent and one incident throughout."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample


def _request(name: str, value: Any) -> OpenApiExample:
    return OpenApiExample(name, value, request_only=True)


def _response(name: str, value: Any, status: int = 200) -> OpenApiExample:
    return OpenApiExample(name, value, response_only=True, status_codes=[str(status)])


def _page(*results: dict[str, Any]) -> dict[str, Any]:
    return {"count": len(results), "next": None, "previous": None, "results": list(results)}


_URL: Final = "https://watchdog.example.com/admin/agents"
_REF: Final = {"id": 17, "name": "research-agent", "url": f"{_URL}/agent/17/change/"}
_INCIDENT_REF: Final = {"id": 204, "kind": "stalled", "url": f"{_URL}/incident/204/change/"}
_SPEND: Final = {"cost_usd": 0.41, "priced_usd": 0.36, "reported_usd": 0.05, "unpriced_tokens": 0}
_STATUS: Final = {
    "id": 17,
    "name": "research-agent",
    "status": "stalled",
    "last_heartbeat_at": "2026-11-23T20:25:57.123456Z",
    "last_progress_at": "2026-11-23T19:38:12Z",
    "alive_deadline": "2026-11-23T20:27:57.123456Z",
    "progress_deadline": "2026-11-23T19:43:12Z",
    "interval": 60.0,
    "tokens_today": 182_400,
    "cost_today_usd": 3.4125,
    "priced_today_usd": 3.0025,
    "reported_today_usd": 0.41,
    "unpriced_tokens_today": 0,
    "hold": False,
    "open_incident": _INCIDENT_REF,
}
_AGENT: Final = {
    **_STATUS,
    "url": _REF["url"],
    "spend": {"today": _SPEND, "month": _SPEND, "run": _SPEND, "ever": _SPEND, "unpriced_models": {}},
    "kind": "agent",
    "agent_type": "claude",
    "labels": {"env": "prod"},
    "aliases": ["research-agent.service"],
    "interval_set": None,
    "grace": 30.0,
    "progress_timeout": 300.0,
    "daily_budget_usd": 25.0,
    "run_budget_usd": None,
    "daily_token_limit": None,
    "restart_policy": "manual",
    "restart_type": "systemd",
    "restart_target": "research-agent.service",
    "unsafe_to_repeat": False,
    "rules": {"loop": {"repeats": 8}},
    "description": "Answers support mail",
    "owner": "Support tools",
    "runbook_url": "https://wiki.example.com/runbooks/support",
    "paused_at": None,
    "paused_until": None,
    "created_at": "2026-11-01T08:00:00Z",
}
_SIGNAL: Final = {
    "kind": "stalled",
    "severity": "critical",
    "agent": _REF,
    "reason": "No progress for 47 minutes, although heartbeats arrive",
    "evidence": {"last_progress_at": "2026-11-23T19:38:12Z", "timeout": 300.0},
    "started_at": "2026-11-23T19:43:12Z",
    "opened_at": "2026-11-23T19:43:13.100000Z",
    "cleared_at": None,
}
_INCIDENT: Final = {
    "id": 204,
    "agent": _REF,
    "kind": "stalled",
    "kinds": ["stalled"],
    "severity": "critical",
    "state": "open",
    "started_at": _SIGNAL["started_at"],
    "opened_at": _SIGNAL["opened_at"],
    "acknowledged_at": None,
    "resolved_at": None,
    "snoozed_until": None,
    "reason": _SIGNAL["reason"],
    "evidence": _SIGNAL["evidence"],
    **_SPEND,
    "restarts": 1,
    "time_to_recovery": None,
    "restart_to_recovery": None,
    "signals": [_SIGNAL],
    "timeline": [
        {"kind": "opened", "at": _SIGNAL["opened_at"], "actor": "watchdog", "text": _SIGNAL["reason"], "data": {}}
    ],
    "url": _INCIDENT_REF["url"],
}
_ORDER: Final = {
    "id": 31,
    "action": "restart",
    "type": "systemd",
    "target": "research-agent.service",
    "reason": "stuck since this morning",
    "evidence_at": "2026-11-23T20:26:00Z",
}
_WAITING: Final = {
    **_ORDER,
    "agent": "research-agent",
    "names": ["research-agent", "research-agent.service"],
    "origin": "person",
    "expires_in": 287.4,
}
_COMMAND: Final = {
    **_ORDER,
    "state": "pending",
    "agent": _REF,
    "incident": 204,
    "origin": "person",
    "requested_by": "key:cv_x4Tq8Lm2",
    "created_at": "2026-11-23T20:26:00Z",
    "expires_at": "2026-11-23T20:31:00Z",
    "finished_at": None,
    "result": "",
}
_BEAT: Final = {
    "agent": "research-agent",
    "status": "ok",
    "message": "read 3 papers",
    "tokens_used": 1840,
    "cost_usd": 0.0312,
}
_ANSWER: Final = {"agent_id": 17, "status": "ok", "warning": None, "reason": None, "incident": None, "hold": False}
_LIMIT: Final = {"code": "agent_limit_reached", "message": "The Free plan allows 3 agents, and all are in use."}
_STORED: Final = {
    "id": 90_412,
    "received_at": "2026-11-23T20:25:57.123456Z",
    "beat_id": None,
    "status": "ok",
    "progress": True,
    "tokens": 1840,
    "cost_usd": 0.0312,
    "priced_usd": 0.0,
    "reported_usd": 0.0312,
    "unpriced_tokens": 0,
    "tool_calls": 0,
    "iteration": None,
    "memory_mb": None,
    "content": {"message": "read 3 papers"},
}
_ENTRY: Final = {
    "at": _SIGNAL["opened_at"],
    "kind": "opened",
    "text": _SIGNAL["reason"],
    "actor": "watchdog",
    "incident": 204,
}

BEAT: Final = _request("A heartbeat", _BEAT)
ANSWER: Final = _response("Stored", _ANSWER)
BATCH: Final = _request("Two heartbeats", {"heartbeats": [_BEAT, {"agent": "nightly-report", "status": "shutdown"}]})
BATCH_ANSWER: Final = _response("One stored, one rejected", {"results": [_ANSWER, {"error": _LIMIT}]})
STATUS: Final = _response("One stalled agent", _page(_STATUS))
AGENTS: Final = _response("One agent", _page(_AGENT))
AGENT: Final = _response("The agent", _AGENT)
NEW_AGENT: Final = _request("A job", {"name": "nightly-report", "kind": "job"})
MADE_AGENT: Final = _response("Created", {**_AGENT, "name": "nightly-report", "kind": "job", "status": "new"}, 201)
CHANGES: Final = _request(
    "A longer grace period and a budget", {"grace": 30, "daily_budget_usd": 25, "labels": {"env": "prod"}}
)
REASON: Final = _request("With a reason", {"reason": "stuck since this morning"})
PAUSE: Final = _request("Until tomorrow", {"until": "2026-05-05T08:00:00Z"})
COMMAND: Final = _response("The command", _COMMAND)
ORDERED: Final = _response("Requested", _COMMAND, 202)
# A single item: drf-spectacular wraps it in a list.
COMMANDS: Final = _response("One restart", _WAITING)
_CAUSE: Final = "Not responding: systemd says failed (exit-code)"
PREFLIGHT: Final = _request(
    "Target is down",
    {"agent": "research-agent", "type": "systemd", "target": "research-agent.service", "cause": _CAUSE},
)
GRANTED: Final = _response("Restart granted", {**_WAITING, "reason": f"runner: {_CAUSE}"}, 201)
RESULT: Final = _request("Restart worked", {"status": "completed", "message": "restarted in 1.2 s"})
HEARTBEATS: Final = _response("Latest heartbeat", _page(_STORED))
TIMELINE: Final = _response("Agent stalled", _page(_ENTRY))
INCIDENTS: Final = _response("One open incident", _page(_INCIDENT))
INCIDENT: Final = _response("The incident", _INCIDENT)
_CALL_RATE: Final = {
    "rule": "call_rate",
    "label": "Call rate",
    "on": True,
    "on_by_default": False,
    "thresholds": [
        {
            "name": "calls",
            "type": "integer",
            "default": 10,
            "unit": "calls",
            "minimum": 1,
            "maximum": 120,
            "why": "12 % of healthy runs are this busy.",
            "set_on": "rules",
        }
    ],
}
_SET: Final = {"call_rate": {"on": True, "calls": 30}}
_LOOPED: Final = {
    "kind": "loop",
    "severity": "warning",
    "reason": "`search_docs(release notes)` called 14 times in a row in 6 minutes, $3.10 so far",
    "evidence": {"pattern": "cycle", "count": 14, "needed": 8},
    "started_at": "2026-11-23T02:13:00Z",
    "fired_at": "2026-11-23T02:16:30Z",
    "over_at": "2026-11-23T02:21:00Z",
    "nudged_at": None,
    "stopped_at": "2026-11-23T18:02:30Z",
    "seconds": 270.0,
}
_TRIED: Final = {
    "agent": _REF,
    "thresholds": {"repeats": 8},
    "covered_from": "2026-11-22T20:27:00Z",
    "why": None,
    "note": None,
    "stops": 1,
    "nudges": 0,
    "heartbeats": 1440,
    "learned_from": 3560,
    "findings": [_LOOPED],
    "incidents": [],
}
RULES: Final = _response("One rule", {"rules": _SET, "known": [_CALL_RATE]})
SET_RULES: Final = _request("Turn a rule on", {"rules": _SET})
BACKTEST: Final = _request(
    "A higher threshold", {"rule": "loop", "agent": "research-agent", "thresholds": {"repeats": 8}, "hours": 24}
)
BACKTEST_RESULT: Final = _response(
    "Would have fired once",
    {
        "rule": "loop",
        "since": "2026-11-22T20:27:00Z",
        "until": "2026-11-23T20:27:00Z",
        "agents": [_TRIED],
        "left_out": 0,
    },
)
HEALTH: Final = _response("Healthy", {"name": "research-agent", "status": "ok"})
