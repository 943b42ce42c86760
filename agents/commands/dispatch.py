"""Restart and stop: asked for here, handed once to the runner that reported the target, answered by it.

Every step is a conditional update, so that with several web processes each command is handed out at most once.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from agents.commands import restart_context
from agents.commands.preflight import Preflight
from agents.domain import restart_policy
from agents.incidents import lifecycle
from agents.models import Agent, AgentState, Command, Incident, IncidentEvent, Runner
from teams.actors import WATCHDOG
from teams.auth import Caller
from teams.errors import ApiError
from teams.services import audit

log = structlog.get_logger(__name__)

LIFETIME: Final = timedelta(minutes=5)
# How long the runner that reported the target has a command to itself.
HEAD_START: Final = timedelta(seconds=30)
FORGOTTEN: Final = timedelta(hours=1)
POLL_NOTED_EVERY: Final = timedelta(seconds=30)
# Runners of one machine or behind one proxy look alike: when the wrong one asked first, the right one asks soon.
TRIES_PER_ADDRESS: Final = 5
# So long the one that was handed a command may take to say that it is not its own.
WORD_WITHIN: Final = timedelta(seconds=1)
NOT_MINE: Final = "not registered"
RESULTS: Final = (Command.State.COMPLETED, Command.State.FAILED, Command.State.REJECTED)
MAX_TEXT_LENGTH: Final = 500


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
    """Ask for a restart or a stop, on behalf of the incident that stands. Void five minutes after `now`.

    A person's takes the place of what the watchdog wants and no runner has taken, and a person's stop that of any such
    restart. The lock decides which came first: what a runner was handed stays. A restart by a person is not taken for
    the watchdog's own: that one is void for reasons that hold no person back, does not lift a stop, and would stand
    under another's name.
    Raises ApiError 409 as `Wish.require` does.
    """
    state = _locked(agent)
    wish = Preflight(agent, state, origin, now, incident=incident)
    target = wish.require(action)
    if (live := wish.superseded(action)) is not None:
        _supersede(live, action, actor, now)
    needed = (
        restart_policy.cures(wish.kinds, runner_down=state.runner_down) and not wish.kinds & restart_policy.BOUGHT_AGAIN
    )
    facts: dict[str, Any] = {"requested_by": actor, "reason": reason[:300], "runner": state.runner}
    if action == Command.Action.RESTART and needed:
        facts["evidence_at"] = now
    command = _made(agent, wish.incident, action, target, now, origin=origin, **facts)
    _tell(command, "requested", f"{action} of {target[1]} requested", actor, now, reason=command.reason)
    return command


@transaction.atomic
def grant(*, caller: Caller, runner: str, name: str, target: tuple[str, str], cause: str, now: datetime) -> Command:
    """The restart of what a runner sees down, by itself, as its operator armed it there: it is handed out at once.

    It shares the budget with all other restarts and is reported like them. `target` is type and name there, `cause` is
    why, in the runner's words.
    Raises ApiError 404 for a name that no agent of the project has, 409 as `request` does.
    """
    agent = Agent.objects.filter(project=caller.project_id, names__name=name).select_related("project__team").first()
    if agent is None:
        raise ApiError(404, "not_found", "This project has no agent of that name.")
    wish = Preflight(agent, _locked(agent), restart_policy.RUNNER, now, seen={cause} & restart_policy.BOUGHT_AGAIN)
    wish.require_free(Command.Action.RESTART)
    wish.require_leave()
    by = f"runner:{runner}"
    facts = {"origin": restart_policy.RUNNER, "requested_by": by, "reason": f"runner: {cause}"[:300], "runner": runner}
    taken = {"state": Command.State.LEASED, "leased_at": now, "evidence_at": now}
    command = _made(agent, wish.incident, Command.Action.RESTART, target, now, **facts, **taken)
    lifecycle.count_restart(wish.incident, now)
    _tell(command, "granted", f"restart of {target[1]} by the runner itself", by, now, reason=command.reason)
    return command


def _locked(agent: Agent) -> AgentState:
    """The hot row, which is held by whoever changes what its agent is to do."""
    return AgentState.objects.select_for_update().get(agent=agent)


def _made(
    agent: Agent, incident: Incident | None, action: str, target: tuple[str, str], now: datetime, **facts: Any
) -> Command:
    made = {"agent": agent, "incident": incident, "action": action, "type": target[0], "target": target[1], **facts}
    return Command.objects.create(created_at=now, expires_at=now + LIFETIME, **made)


def hand_out(*, caller: Caller, runner: str, now: datetime) -> list[Command]:
    """What this runner is to do now. Each command is handed out once, whatever becomes of the answer."""
    if not _asked(caller, runner, now):
        return []
    waiting = Command.objects.filter(
        agent__project=caller.project_id, state=Command.State.PENDING, expires_at__gt=now
    ).order_by("id")
    offered = [
        command
        for command in waiting.select_related("agent__project__team", "incident")
        if _is_for(command, runner, now)
    ]
    return [command for command in offered if _lease(command, runner, now)]


def may_come_back(*, caller: Caller, runner: str, now: datetime) -> bool:
    """Whether a runner of the same address was handed a command just now, which may not be its own.

    Runners that were started together ask together, and the right one would find it taken each time.
    """
    leased = Command.objects.filter(agent__project=caller.project_id, state=Command.State.LEASED, runner=runner)
    return leased.filter(leased_at__gt=now - WORD_WITHIN).exists()


def _asked(caller: Caller, runner: str, now: datetime) -> bool:
    """Note that the runner is there, twice a minute at most. Answers whether any command waits in the project."""
    waits = Command.objects.filter(agent__project=OuterRef("project"), state=Command.State.PENDING)
    known = Runner.objects.filter(project=caller.project_id, source=runner)
    found = known.annotate(waits=Exists(waits)).values_list("polled_at", "waits").first()
    if found is None or found[0] <= now - POLL_NOTED_EVERY:
        seen = Runner(project_id=caller.project_id, source=runner, polled_at=now)
        unique = ["project", "source"]
        Runner.objects.bulk_create([seen], update_conflicts=True, unique_fields=unique, update_fields=["polled_at"])
    return found is None or bool(found[1])


def _is_for(command: Command, runner: str, now: datetime) -> bool:
    if runner in command.refused_by:
        return bool(command.refused_by.count(runner) < TRIES_PER_ADDRESS)
    # A runner that asked since would have it: what still waits after the head start waits for a runner that is gone.
    return runner == command.runner or command.runner in command.refused_by or command.created_at <= now - HEAD_START


@transaction.atomic
def _lease(command: Command, runner: str, now: datetime) -> bool:
    state = _locked(command.agent)
    void = _why_void(command, state, now)
    if void:
        _end(command, f"void: {void}", now)
        return False
    waiting = Command.objects.filter(pk=command.pk, state=Command.State.PENDING)
    if not waiting.update(state=Command.State.LEASED, runner=runner, leased_at=now):
        return False
    command.runner = runner
    if command.action == Command.Action.RESTART:
        lifecycle.count_restart(command.incident, now)
        if command.origin == Command.Origin.PERSON:
            AgentState.objects.filter(agent=command.agent_id).update(held=False)
    if runner not in command.refused_by:
        text = f"{command.action} of {command.target} handed to the runner"
        _tell(command, "handed_out", text, f"runner:{runner}", now)
    return True


def _why_void(command: Command, state: AgentState, now: datetime) -> str:
    """Why a restart is no longer to be made: the agent helped itself, or what was asked for may not be any more."""
    if command.action != Command.Action.RESTART:
        return ""
    agent, at = command.agent, command.evidence_at
    kinds = restart_context.standing_kinds(agent)
    if at is not None and restart_context.works_since(state, at, kinds):
        return f"{agent} works again since it was asked for"
    case = restart_context.case(agent, state, command.origin, now, incident=command.incident, kinds=kinds)
    return restart_policy.may_restart(case, restart_context.delays()).reason


@transaction.atomic
def report(*, command_id: int, caller: Caller, runner: str, status: str, message: str, now: datetime) -> Command:
    """Note what a runner says became of a command: `completed`, `failed` or `rejected`.

    "Not registered" is "not mine": the command waits for another runner. The first result stands; a second one
    changes nothing. A result that comes after the expiry is still the truth, so it is taken.
    Raises ApiError 404 for another project's command, 409 for one that was never handed out.
    """
    found = Command.objects.filter(pk=command_id, agent__project=caller.project_id)
    command = found.select_related("agent__project__team", "incident").first()
    if command is None:
        raise ApiError(404, "not_found", "This project has no such command.")
    if command.leased_at is None and not command.refused_by:
        raise ApiError(409, "not_handed_out", "This command was not handed to a runner.")
    _locked(command.agent)
    if status == Command.State.REJECTED and NOT_MINE in message.lower():
        _refuse(command, runner, now)
    else:
        _finish(command, runner, status, message[:MAX_TEXT_LENGTH], now)
    command.refresh_from_db()
    return command


def _refuse(command: Command, runner: str, now: datetime) -> None:
    refused = sorted([*command.refused_by, runner])
    leased = Command.objects.filter(pk=command.pk, state=Command.State.LEASED)
    back = leased.update(state=Command.State.PENDING, leased_at=None, refused_by=refused)
    if back and command.action == Command.Action.RESTART:
        lifecycle.discount_restart(command.incident, taken_back=True)
    if back and runner not in command.refused_by:
        text = f"{command.target} is not registered with this runner; waiting for another"
        _tell(command, "refused", text, f"runner:{runner}", now)


def _finish(command: Command, runner: str, status: str, message: str, now: datetime) -> None:
    handed = Q(state=Command.State.LEASED) | Q(state=Command.State.EXPIRED, leased_at__isnull=False)
    open_ = Command.objects.filter(handed, pk=command.pk)
    if not open_.update(state=status, result=message, finished_at=now):
        return
    if command.action == Command.Action.STOP and status == Command.State.COMPLETED:
        # As if it had said goodbye itself: stopped, and no alarm for its silence.
        AgentState.objects.filter(agent=command.agent_id).update(reported="shutdown", held=True, check_at=now)
    if command.action == Command.Action.RESTART and status != Command.State.COMPLETED:
        lifecycle.discount_restart(command.incident)
    text = f"{command.action} of {command.target} {status}" + (f": {message}" if message else "")
    _tell(command, str(status), text, f"runner:{runner}", now)


def expire(now: datetime) -> int:
    """Void what nobody took or answered in time. Answers how many commands that were."""
    found = Command.objects.filter(state__in=Command.LIVE, expires_at__lte=now)
    return sum(_expire_guarded(command, now) for command in found.select_related("agent__project__team", "incident"))


def _expire_guarded(command: Command, now: datetime) -> bool:
    """One command that cannot be told of must not keep the others alive."""
    try:
        return _expire(command, now)
    except Exception:
        log.exception("command could not be expired", command=command.pk)
        return False


@transaction.atomic
def _expire(command: Command, now: datetime) -> bool:
    return _end(command, _why_expired(command), now)


def _end(command: Command, why: str, now: datetime) -> bool:
    # Only from the state it was read in: a lease or a result in between must not be lost.
    live = Command.objects.filter(pk=command.pk, state=command.state)
    if not live.update(state=Command.State.EXPIRED, result=why, finished_at=now):
        return False
    _tell(command, "expired", f"{command.action} of {command.target} expired: {why}", WATCHDOG, now)
    return True


def _supersede(command: Command, action: str, actor: str, now: datetime) -> None:
    """No runner took it, as the lock of the agent's row says; that it may have expired meanwhile is all the same."""
    waiting = Command.objects.filter(pk=command.pk, state=Command.State.PENDING)
    why = f"superseded: {action} asked for by {actor}"
    if waiting.update(state=Command.State.EXPIRED, result=why, finished_at=now):
        _tell(command, "superseded", f"{command.action} of {command.target} {why}", actor, now)


def forget_runners(now: datetime) -> None:
    """Delete runners that have not asked for an hour: addresses change, and a key may name as many as it likes."""
    Runner.objects.filter(polled_at__lte=now - FORGOTTEN).delete()


def _why_expired(command: Command) -> str:
    if command.state == Command.State.LEASED:
        return "the runner took it and sent no result"
    if command.refused_by:
        return "every runner that asked said that the target is not registered with it"
    return "no runner asked for it"


def _tell(command: Command, step: str, text: str, actor: str, now: datetime, **data: Any) -> None:
    """Into the audit log, and onto the timeline of the incident it belongs to."""
    agent = command.agent
    facts = {"command": command.pk, "action": command.action, "type": command.type, "target": command.target, **data}
    told = {**facts, "text": text}
    audit(team=agent.project.team, actor=actor, action=f"command.{step}", target=agent.name, of=command, data=told)
    if command.incident is not None:
        kind = IncidentEvent.Kind.COMMAND
        lifecycle.record(incident=command.incident, kind=kind, text=text, actor=actor, data=facts, now=now)
