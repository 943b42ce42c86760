"""The tools of `/mcp`: what they take, which scope of key they need, and what they answer, at most 4 KB of JSON.

What changes an agent takes two calls: the first says exactly what would happen and answers with a confirmation ID,
valid once and for a minute; only the second, with that ID, acts. So no model acts on a person's agent by a slip.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from django.core.cache import cache
from django.core.signing import BadSignature, TimestampSigner

from agents.api.agents import agent_dicts
from agents.api.status import agents_of, status_dict
from agents.commands import dispatch
from agents.domain.wire.decoding import decode
from agents.domain.wire.names import agent_name
from agents.fleet import holds
from agents.fleet.holds import MAX_REASON
from agents.incidents import actions
from agents.ingest import committer
from agents.ingest.write import Received
from agents.models import Agent, AgentState, Command, Incident, Status
from agents.reporting import agent_status
from agents.reporting.payloads import incident_dict
from teams.auth import Caller
from teams.errors import ApiError
from teams.models import Scope

MAX_LISTED: Final = 10
# Characters of an argument. Names and notes are shorter.
LONGEST: Final = 2_000
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
# Seconds for which a confirmation is valid.
CONFIRM_WITHIN: Final = 60
_AGENT: Final = {"type": "string", "description": "The agent's name."}
_INCIDENT: Final = {"type": "integer", "description": "The incident's ID."}
_TEXT: Final = {"type": "string", "maxLength": 500}
_CONFIRMATION: Final = {"type": "string", "description": "From the first call. Leave it out to get one."}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool: by whom, with what, when. `source` tells reporters apart."""

    caller: Caller
    arguments: Mapping[str, Any]
    now: datetime
    source: str

    def text(self, name: str, *, required: bool = True) -> str:
        """Raises ApiError 422 when it is missing or no text."""
        value = self.arguments.get(name, "")
        if not isinstance(value, str) or (required and not value.strip()) or _UNSTORABLE.search(value):
            raise ApiError(422, "invalid", f"{name}: must be a text")
        if len(value) > LONGEST:
            raise ApiError(422, "invalid", f"{name}: must have at most {LONGEST} characters")
        return value.strip()

    def agent(self) -> Agent:
        """Raises ApiError 404, also for agents of other projects."""
        name = self.text("agent")
        agent = agents_of(self.caller.project_id).filter(names__name=agent_name(name)).first()
        if agent is None:
            raise ApiError(404, "not_found", f"This project has no agent named “{agent_name(name)}”.")
        return agent

    def incident(self) -> Incident:
        pk = self.arguments.get("incident")
        if isinstance(pk, bool) or not isinstance(pk, int) or not 0 < pk < 2**63:
            raise ApiError(422, "invalid", "incident: must be the ID of an incident")
        found = Incident.objects.filter(project=self.caller.project_id, pk=pk).first()
        if found is None:
            raise ApiError(404, "not_found", f"This project has no incident {pk}.")
        return found


def list_agents(call: Call) -> Any:
    wanted = call.text("status", required=False)
    agents = agents_of(call.caller.project_id).order_by(*agent_status.worst_first(call.now))
    if wanted:
        agents = agents.filter(state__status=wanted)
    shown = agent_status.statuses(agents[:MAX_LISTED], call.now)
    kept = ("name", "status", "last_heartbeat_at", "last_progress_at", "open_incident")
    rows = [{name: status_dict(status)[name] for name in kept} for status in shown]
    return {"count": agents.count(), "worst_first": rows}


def explain_agent(call: Call) -> Any:
    agent = call.agent()
    (shown,) = agent_dicts([agent])
    signals = agent.signals.filter(cleared_at__isnull=True)[:MAX_LISTED]
    hidden = ("rules", "spend", "labels", "aliases")
    facts = {name: value for name, value in shown.items() if value not in (None, "", [], {}) and name not in hidden}
    return {**facts, "problems": [{"kind": signal.kind, "reason": signal.reason} for signal in signals]}


def list_incidents(call: Call) -> Any:
    incidents = Incident.objects.open().filter(project=call.caller.project_id).select_related("agent")
    rows = incidents.order_by("-pk")[:MAX_LISTED]
    return {
        "open": incidents.count(),
        "newest_first": [
            {"id": row.pk, "agent": row.agent.name, "kind": row.kind, "severity": row.severity,
             "state": str(row.state), "reason": row.reason}
            for row in rows
        ],
    }  # fmt: skip


def explain_incident(call: Call) -> Any:
    shown = incident_dict(call.incident())
    # The end is what matters, and an answer is cut from its end.
    shown["timeline_newest_first"] = shown.pop("timeline")[::-1]
    shown["signals"] = [{"kind": each["kind"], "reason": each["reason"]} for each in shown["signals"]]
    return shown


def check_in(call: Call) -> Any:
    message = call.text("message", required=False)
    return _beat(call, {"agent": call.text("agent"), "message": message or None, "progress": True})


def declare_wait(call: Call) -> Any:
    minutes = call.arguments.get("minutes", 60)
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 < minutes <= 24 * 60:
        raise ApiError(422, "invalid", "minutes: must be a number, at most 1,440")
    until = call.now + timedelta(minutes=minutes)
    return _beat(call, {"agent": call.text("agent"), "waiting": {"for": call.text("for"), "until": until.isoformat()}})


def _beat(call: Call, fields: Mapping[str, Any]) -> Any:
    """Store a heartbeat, read as one that comes over HTTP: with its name and its limits."""
    beat, detail = decode(json.dumps(fields).encode()), call.caller.keeps_details
    (outcome,) = committer.submit([Received(call.caller, beat, call.now, call.source, detail=detail)])
    if isinstance(outcome, ApiError):
        raise outcome
    return outcome.as_dict()


def acknowledge(call: Call) -> Any:
    incident = actions.acknowledge(incident=call.incident(), actor=call.caller.actor, now=call.now)
    return {"id": incident.pk, "state": str(incident.state)}


def note(call: Call) -> Any:
    incident = call.incident()
    actions.note(incident=incident, actor=call.caller.actor, text=call.text("text"), now=call.now)
    return {"id": incident.pk, "noted": True}


def restart(call: Call) -> Any:
    return _confirmed(call, "restart", _command(Command.Action.RESTART))


def stop(call: Call) -> Any:
    return _confirmed(call, "stop", _command(Command.Action.STOP))


def hold(call: Call) -> Any:
    return _confirmed(call, "hold", holds.hold)


def end_hold(call: Call) -> Any:
    return _confirmed(call, "end the hold of", _ending_hold)


def _ending_hold(*, agent: Agent, actor: str, reason: str, now: datetime) -> Agent:
    return holds.end_hold(agent=agent, actor=actor, now=now)


def _command(action: str) -> Callable[..., Agent | Command]:
    return partial(dispatch.request, action=action)


def _confirmed(call: Call, verb: str, act: Callable[..., Agent | Command]) -> Any:
    """The first call asks, the second acts. `act` is a service."""
    agent, reason = call.agent(), call.text("reason")[:MAX_REASON]
    # The ID names what is confirmed, so it confirms nothing else, and nobody else's.
    subject = f"{call.caller.key_id}:{verb}:{agent.pk}"
    confirmation = call.text("confirmation_id", required=False)
    if not confirmation:
        return {
            "confirmation_id": _signer().sign(subject).removeprefix(f"{subject}:"),
            "will": f"{verb} {agent.name}, which is {Status(agent.state.status).label}",
            "next": f"Ask the person. Call again with the confirmation_id within {CONFIRM_WITHIN} seconds.",
        }
    _require_valid(subject, confirmation)
    done = act(agent=agent, actor=call.caller.actor, reason=reason, now=call.now)
    if isinstance(done, Command):
        return {"command": done.pk, "state": done.state}
    return {"agent": agent.name, "hold": AgentState.objects.values_list("hold", flat=True).get(agent=agent)}


def _require_valid(subject: str, confirmation: str) -> None:
    """Raises ApiError 409 unless it is for this, made within the last minute, and was not used yet."""
    try:
        _signer().unsign(f"{subject}:{confirmation}", max_age=CONFIRM_WITHIN)
    except BadSignature:  # also when it has expired
        raise ApiError(409, "not_confirmed", "The confirmation_id is not for this, or has expired.") from None
    if not cache.add(f"mcp:{confirmation}", True, CONFIRM_WITHIN + 1):
        raise ApiError(409, "not_confirmed", "The confirmation_id was used already. Get another one.")


def _signer() -> TimestampSigner:
    return TimestampSigner(salt="agents.api.mcp")


@dataclass(frozen=True, slots=True)
class Tool:
    run: Callable[[Call], Any]
    description: str
    scope: str
    properties: Mapping[str, Any]
    required: tuple[str, ...] = ()

    @property
    def is_reading(self) -> bool:
        return self.scope == Scope.READ

    def described(self, name: str) -> dict[str, Any]:
        schema = {"type": "object", "properties": dict(self.properties), "required": list(self.required)}
        hints = {"readOnlyHint": self.is_reading, "destructiveHint": "confirmation_id" in self.properties}
        return {"name": name, "description": self.description, "inputSchema": schema, "annotations": hints}


_ON_AGENT: Final = {"agent": _AGENT, "reason": _TEXT, "confirmation_id": _CONFIRMATION}
TOOLS: Final[Mapping[str, Tool]] = {
    "list_agents": Tool(
        list_agents,
        "List the project's agents, those with problems first.",
        Scope.READ,
        {"status": {"type": "string", "enum": list(Status.values)}},
    ),
    "explain_agent": Tool(
        explain_agent, "Say how an agent is doing and what is wrong.", Scope.READ, {"agent": _AGENT}, ("agent",)
    ),
    "list_incidents": Tool(list_incidents, "List open incidents, the newest first.", Scope.READ, {}),
    "explain_incident": Tool(
        explain_incident, "Get an incident's evidence and timeline.", Scope.READ, {"incident": _INCIDENT}, ("incident",)
    ),
    "check_in": Tool(
        check_in,
        "Report as an agent that it is alive and made progress.",
        Scope.AGENT,
        {"agent": _AGENT, "message": _TEXT},
        ("agent",),
    ),
    "declare_wait": Tool(
        declare_wait,
        "Report as an agent that it waits, so that it is not taken for stalled.",
        Scope.AGENT,
        {"agent": _AGENT, "for": _TEXT, "minutes": {"type": "number", "maximum": 1_440}},
        ("agent", "for"),
    ),
    "acknowledge": Tool(
        acknowledge,
        "Show the team that somebody works on an incident.",
        Scope.ACT,
        {"incident": _INCIDENT},
        ("incident",),
    ),
    "note": Tool(
        note,
        "Add a note to an incident's timeline.",
        Scope.ACT,
        {"incident": _INCIDENT, "text": _TEXT},
        ("incident", "text"),
    ),
    "restart": Tool(
        restart, "Restart an agent through its runner. Asks for a confirmation first.", Scope.ACT, _ON_AGENT,
        ("agent", "reason"),
    ),
    "stop": Tool(
        stop, "Stop an agent through its runner. Asks for a confirmation first.", Scope.ACT, _ON_AGENT,
        ("agent", "reason"),
    ),
    "hold": Tool(
        hold, "Have an agent's client stop at its next call. Asks for a confirmation first.", Scope.ACT, _ON_AGENT,
        ("agent", "reason"),
    ),
    "end_hold": Tool(
        end_hold, "End a hold by a person. Asks for a confirmation first.", Scope.ACT, _ON_AGENT, ("agent", "reason"),
    ),
}  # fmt: skip
