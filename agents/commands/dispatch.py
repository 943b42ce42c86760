"""Restarts and stops: requested here, sent once to the runner that reported the target, answered by that runner.

Every step is a conditional update, so with several web processes each command is still sent at most once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from agents.commands import restart_context
from agents.commands.preflight import Preflight, Target
from agents.domain import pinning, restart_policy
from agents.incidents import events, restarts
from agents.ingest import bindings
from agents.models import Agent, AgentState, Command, Incident, IncidentEvent, Runner
from agents.storage import event_stream
from teams.actors import WATCHDOG
from teams.auth import Caller
from teams.errors import ApiError
from teams.services import audit

log = structlog.get_logger(__name__)

LIFETIME: Final = timedelta(minutes=5)
# For this long only the runner that reported the target gets the command.
HEAD_START: Final = timedelta(seconds=30)
FORGET_RUNNERS_AFTER: Final = timedelta(hours=1)
POLL_NOTED_EVERY: Final = timedelta(seconds=30)
# Runners on one machine or behind one proxy share an address: when the wrong one asks first, the right one asks soon.
TRIES_PER_ADDRESS: Final = 5
# How soon a runner answers that a command is not for it.
RETURNED_WITHIN: Final = timedelta(seconds=1)
NOT_REGISTERED: Final = "not registered"
RESULTS: Final = (Command.State.COMPLETED, Command.State.FAILED, Command.State.REJECTED)
MAX_RESULT: Final = 500
MAX_REASON: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What a new command says about its origin."""

    origin: str
    requested_by: str
    reason: str
    runner: str


@transaction.atomic
def request(
    *,
    agent: Agent,
    action: str,
    actor: str,
    reason: str,
    now: datetime,
    origin: str = restart_policy.PERSON,
    incident: Incident | None = None,
) -> Command:
    """Request a restart or a stop, by default for the agent's open incident. It expires five minutes after `now`.

    A person's request replaces a pending one of the watchdog, and a stop any pending restart. It never reuses the
    watchdog's command, which can be cancelled for reasons that do not stop a person, does not lift a hold, and names
    another requester. The row lock decides which came first: what a runner has been sent stays.
    Raises ApiError 409, see `Preflight.refusal`.
    """
    state = _locked(agent)
    preflight = Preflight(agent, state, origin, now, incident=incident)
    target = preflight.require(action)
    if (pending := preflight.superseded(action)) is not None:
        _supersede(pending, action, actor, now)
    about = _Request(origin=origin, requested_by=actor, reason=reason[:MAX_REASON], runner=state.runner)
    command = _new_command(agent, preflight.incident, action, target, about, now)
    if action == Command.Action.RESTART and _fixes_something(preflight):
        command.evidence_at = now
    command.save()
    _record(command, "requested", f"{_named(command)} requested", actor, now, reason=command.reason)
    return command


@transaction.atomic
def grant(*, caller: Caller, runner: str, name: str, target: tuple[str, str], cause: str, now: datetime) -> Command:
    """Allow a runner to restart a target that it sees down, as its operator configured there. It counts as sent.

    It shares the restart budget with all other restarts and is reported like them. `target` is the type and name at
    the runner, `cause` the reason in the runner's words.
    Raises ApiError 403 when the key must not report as that agent, 404 when no agent of the project has that name, 409
    `not_its_target` when another target or runner is pinned for it, 409 as `request` does.
    """
    bindings.require_name(caller, name, now)
    agent = Agent.objects.filter(project=caller.project_id, names__name=name).select_related("project__team").first()
    if agent is None:
        raise ApiError(404, "not_found", "This project has no agent with that name.")
    state, seen = _locked(agent), {cause} & restart_policy.SURVIVES_RESTART
    _require_own_target(agent, state, target, runner, now)
    preflight = Preflight(agent, state, restart_policy.RUNNER, now, seen=seen)
    preflight.require_grant()
    by, reason = f"runner:{runner}", f"runner: {cause}"[:MAX_REASON]
    about = _Request(origin=restart_policy.RUNNER, requested_by=by, reason=reason, runner=runner)
    command = _new_command(agent, preflight.incident, Command.Action.RESTART, Target(*target), about, now)
    command.state, command.leased_at, command.evidence_at = Command.State.LEASED, now, now
    command.save()
    restarts.count(preflight.incident, now)
    _record(command, "granted", restarts.by_runner(command), by, now, reason=command.reason)
    return command


def _require_own_target(agent: Agent, state: AgentState, target: tuple[str, str], runner: str, now: datetime) -> None:
    if pinning.is_pinned_elsewhere(state, target, runner, now, armed=agent.is_armed):
        pinned = f"{state.restart_type}:{state.restart_target}"
        message = f"Restarts of this agent go to {pinned}, as its own runner reports. Change its target on its page."
        wait = int(pinning.RUNNER_GONE.total_seconds())
        raise ApiError(409, "not_its_target", message, retry_after=wait)


def _locked(agent: Agent) -> AgentState:
    """The hot row. Everyone who decides what the agent is to do holds its lock."""
    return AgentState.objects.select_for_update().get(agent=agent)


def _new_command(
    agent: Agent, incident: Incident | None, action: str, target: Target, about: _Request, now: datetime
) -> Command:
    return Command(
        agent=agent,
        incident=incident,
        action=action,
        type=target.type,
        target=target.name,
        origin=about.origin,
        requested_by=about.requested_by,
        reason=about.reason,
        runner=about.runner,
        created_at=now,
        expires_at=now + LIFETIME,
    )


def _fixes_something(preflight: Preflight) -> bool:
    """Whether the agent has a problem that a restart cures. Then its recovery makes a pending restart pointless."""
    cured = restart_policy.cures(preflight.kinds, runner_down=preflight.state.runner_down)
    return bool(cured) and not preflight.kinds & restart_policy.SURVIVES_RESTART


def hand_out(*, caller: Caller, runner: str, now: datetime) -> list[Command]:
    """The commands this runner is to execute now. Each is sent once, even if the answer is lost."""
    if not _note_poll(caller, runner, now):
        return []
    pending = Command.objects.filter(
        bindings.agents_of(caller, "agent"),
        agent__project=caller.project_id,
        state=Command.State.PENDING,
        expires_at__gt=now,
    ).order_by("id")
    offered = [
        command
        for command in pending.select_related("agent__project__team", "agent__state", "incident")
        if _is_for(command, runner, now)
    ]
    return [command for command in offered if _lease(command, runner, now)]


def may_be_returned(*, caller: Caller, runner: str, now: datetime) -> bool:
    """Whether another runner at the same address was just sent a command, which it may return as not its own.

    Runners that were started together poll together, so without a second look the right one would always be too late.
    """
    leased = Command.objects.filter(agent__project=caller.project_id, state=Command.State.LEASED, runner=runner)
    return leased.filter(leased_at__gt=now - RETURNED_WITHIN).exists()


def _note_poll(caller: Caller, runner: str, now: datetime) -> bool:
    """Note that the runner polls, at most twice a minute. Returns whether the project has a pending command."""
    waiting = Command.objects.filter(agent__project=OuterRef("project"), state=Command.State.PENDING)
    known = Runner.objects.filter(project=caller.project_id, source=runner)
    row = known.annotate(has_pending=Exists(waiting)).values_list("polled_at", "has_pending").first()
    if row is None or row[0] <= now - POLL_NOTED_EVERY:
        seen = Runner(project_id=caller.project_id, source=runner, polled_at=now)
        unique = ["project", "source"]
        Runner.objects.bulk_create([seen], update_conflicts=True, unique_fields=unique, update_fields=["polled_at"])
    return row is None or bool(row[1])


def _is_for(command: Command, runner: str, now: datetime) -> bool:
    if runner in command.refused_by:
        return bool(command.refused_by.count(runner) < TRIES_PER_ADDRESS)
    if runner == command.runner or command.runner in command.refused_by:
        return True
    # After the head start the runner that reported the target may be gone: it would have polled by now.
    waited = command.created_at <= now - HEAD_START
    return waited and pinning.is_replaceable(command.agent.state, runner, now, armed=command.agent.is_armed)


@transaction.atomic
def _lease(command: Command, runner: str, now: datetime) -> bool:
    state = _locked(command.agent)
    if obsolete := _why_obsolete(command, state, now):
        _end(command, "cancelled", obsolete, now)
        return False
    pending = Command.objects.filter(pk=command.pk, state=Command.State.PENDING)
    if not pending.update(state=Command.State.LEASED, runner=runner, leased_at=now):
        return False
    command.runner = runner
    if command.action == Command.Action.RESTART:
        restarts.count(command.incident, now)
        if command.origin == Command.Origin.PERSON:
            AgentState.objects.filter(agent=command.agent_id).update(held=False)
    if runner not in command.refused_by:
        _record(command, "handed_out", f"{_named(command)} sent to the runner", f"runner:{runner}", now)
    return True


def _why_obsolete(command: Command, state: AgentState, now: datetime) -> str:
    """Why a restart must not happen any more: the agent recovered, or the policy changed its answer. Empty: it may."""
    if command.action != Command.Action.RESTART:
        return ""
    agent, needed_at = command.agent, command.evidence_at
    kinds = restart_context.open_kinds(agent)
    if needed_at is not None and restart_context.has_recovered(state, needed_at, kinds):
        return f"{agent} has recovered since the request"
    context = restart_context.load(agent, state, command.origin, now, incident=command.incident, kinds=kinds)
    return restart_policy.may_restart(context, restart_context.delays()).reason


@transaction.atomic
def report(*, command_id: int, caller: Caller, runner: str, status: str, message: str, now: datetime) -> Command:
    """Store a runner's result for a command: `completed`, `failed` or `rejected`.

    "Not registered" returns the command for another runner. The first result stays; a second changes nothing. A result
    after expiry is still true, so it is stored.
    Raises ApiError 404 for another project's command, 409 for one that was never sent, or not to this runner.
    """
    known = Command.objects.filter(bindings.agents_of(caller, "agent"), pk=command_id, agent__project=caller.project_id)
    command = known.select_related("agent__project__team", "incident").first()
    if command is None:
        raise ApiError(404, "not_found", "This project has no such command.")
    if command.leased_at is None and not command.refused_by:
        raise ApiError(409, "not_handed_out", "This command was never sent to a runner.")
    _locked(command.agent)
    command.refresh_from_db()
    if not pinning.is_same_runner(command.runner, runner):
        if any(pinning.is_same_runner(refused, runner) for refused in command.refused_by):
            return command  # it was returned, so its result does not count any more
        raise ApiError(409, "not_handed_out", "This command was sent to another runner, which reports its result.")
    if status == Command.State.REJECTED and NOT_REGISTERED in message.lower():
        _return(command, runner, now)
    else:
        _finish(command, runner, status, message[:MAX_RESULT], now)
    command.refresh_from_db()
    return command


def _return(command: Command, runner: str, now: datetime) -> None:
    """Make the command available to another runner."""
    refused = sorted([*command.refused_by, runner])
    leased = Command.objects.filter(pk=command.pk, state=Command.State.LEASED)
    returned = leased.update(state=Command.State.PENDING, leased_at=None, refused_by=refused)
    if returned and command.action == Command.Action.RESTART:
        restarts.take_back(command.incident)
    if returned and runner not in command.refused_by:
        text = f"{command.target} is not registered with this runner; waiting for another"
        _record(command, "refused", text, f"runner:{runner}", now)


def _finish(command: Command, runner: str, status: str, message: str, now: datetime) -> None:
    sent = Q(state=Command.State.LEASED) | Q(state=Command.State.EXPIRED, leased_at__isnull=False)
    unanswered = Command.objects.filter(sent, pk=command.pk)
    if not unanswered.update(state=status, result=message, finished_at=now):
        return
    if command.action == Command.Action.STOP and status == Command.State.COMPLETED:
        # As if the agent had shut down by itself: its silence is no incident.
        AgentState.objects.filter(agent=command.agent_id).update(reported="shutdown", held=True, check_at=now)
    if command.action == Command.Action.RESTART and status != Command.State.COMPLETED:
        restarts.mark_failed(command.incident)
    text = f"{_named(command)} {status}" + (f": {message}" if message else "")
    _record(command, str(status), text, f"runner:{runner}", now)


def expire(now: datetime) -> int:
    """Expire commands that no runner took or answered in time. Returns how many."""
    overdue = Command.objects.filter(state__in=Command.LIVE, expires_at__lte=now)
    return sum(_expire_guarded(command, now) for command in overdue.select_related("agent__project__team", "incident"))


def _expire_guarded(command: Command, now: datetime) -> bool:
    """One command that fails to expire must not keep the others alive."""
    try:
        return _expire(command, now)
    except Exception:
        log.exception("command could not be expired", command=command.pk)
        return False


@transaction.atomic
def _expire(command: Command, now: datetime) -> bool:
    return _end(command, "expired", _why_expired(command), now)


def _end(command: Command, verb: str, why: str, now: datetime) -> bool:
    # Only from the state it was read in, so that a lease or a result in between is not lost.
    unchanged = Command.objects.filter(pk=command.pk, state=command.state)
    if not unchanged.update(state=Command.State.EXPIRED, result=why, finished_at=now):
        return False
    _record(command, "expired", f"{_named(command)} {verb}: {why}", WATCHDOG, now)
    return True


def _supersede(command: Command, action: str, actor: str, now: datetime) -> None:
    """Replace a pending command. The caller holds the lock of the agent's row, so no runner takes it meanwhile."""
    pending = Command.objects.filter(pk=command.pk, state=Command.State.PENDING)
    why = f"replaced by a {action} that {actor} requested"
    if pending.update(state=Command.State.EXPIRED, result=why, finished_at=now):
        _record(command, "superseded", f"{_named(command)} {why}", actor, now)


def forget_runners(now: datetime) -> None:
    """Delete runners that have not polled for an hour: addresses change, and a key may name any number of runners."""
    Runner.objects.filter(polled_at__lte=now - FORGET_RUNNERS_AFTER).delete()


def _why_expired(command: Command) -> str:
    if command.state == Command.State.LEASED:
        return "the runner took it but sent no result"
    if command.refused_by:
        return "no active runner watches this target"
    return "no runner picked it up"


def _named(command: Command) -> str:
    return f"{command.get_action_display().capitalize()} of {command.target}"


def _record(command: Command, step: str, text: str, actor: str, now: datetime, **data: str) -> None:
    """Write a step to the audit log and, if the command belongs to an incident, to its timeline."""
    agent = command.agent
    facts = {"command": command.pk, "action": command.action, "type": command.type, "target": command.target, **data}
    event_stream.write([event_stream.event(agent, f"command.{step}", {**facts, "text": text, "actor": actor}, now)])
    audit(
        team=agent.project.team,
        actor=actor,
        action=f"command.{step}",
        target=agent.name,
        of=command,
        data={**facts, "text": text},
    )
    if command.incident is not None:
        kind = IncidentEvent.Kind.COMMAND
        events.record(incident=command.incident, kind=kind, text=text, actor=actor, data=facts, now=now)
