"""Checks whether a restart or a stop may be requested now.

`dispatch.py` checks under the lock of the agent's hot row before it writes; pages check before they offer a button.
Both run this code, so they agree. Read only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from math import ceil
from typing import Final, NamedTuple

from agents.commands import restart_context
from agents.domain import restart_policy
from agents.domain.durations import spoken
from agents.models import Agent, AgentState, Command, Incident, Runner
from teams.errors import ApiError

# Runners poll every 10 s; one that was silent for this long counts as gone.
RUNNER_TIMEOUT: Final = timedelta(minutes=2)


class Target(NamedTuple):
    """What a runner restarts or stops, e.g. `("systemd", "bot.service")`."""

    type: str
    name: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a command may not be requested, and what to do. `retry_after` is seconds, where waiting is enough."""

    code: str
    message: str
    retry_after: int | None = None

    def as_error(self) -> ApiError:
        return ApiError(409, self.code, self.message, retry_after=self.retry_after)


def target_of(agent: Agent) -> Target | None:
    """The agent's target as a person set it, else as it was last reported. None when neither is known."""
    if agent.restart_type and agent.restart_target:
        return Target(agent.restart_type, agent.restart_target)
    state = agent.state
    return Target(state.restart_type, state.restart_target) if state.restart_type and state.restart_target else None


class Preflight:
    """The checks for one agent and requester, at `now`. Rows are read on first use, and once.

    `origin` is who asks, as in `restart_policy.py`. `incident` is what the command is for, by default the agent's open
    incident; `seen` are kinds of signals that only the requester has seen so far.
    """

    def __init__(
        self,
        agent: Agent,
        state: AgentState,
        origin: str,
        now: datetime,
        *,
        incident: Incident | None = None,
        seen: Iterable[str] = (),
    ) -> None:
        self.agent, self.state, self.origin, self.now = agent, state, origin, now
        self._given_incident, self._seen = incident, frozenset(seen)

    @cached_property
    def incident(self) -> Incident | None:
        return self._given_incident or Incident.objects.open().filter(pk=self.state.incident_id or 0).first()

    @cached_property
    def kinds(self) -> frozenset[str]:
        """What is wrong with the agent."""
        return self._seen | restart_context.open_kinds(self.agent)

    @cached_property
    def caution(self) -> str:
        """Why the watchdog would not restart the agent, for a person to consider. Empty: it would."""
        decision = restart_policy.caution(self._context, restart_context.delays())
        return decision.reason if decision else ""

    def superseded(self, action: str) -> Command | None:
        """The pending command that a person's request replaces: the watchdog's own, or for a stop any restart."""
        live = self._live
        if live is None or live.state != Command.State.PENDING or self.origin != restart_policy.PERSON:
            return None
        stop_over_restart = (live.action, action) == (Command.Action.RESTART, Command.Action.STOP)
        return live if stop_over_restart or live.origin == Command.Origin.WATCHDOG else None

    def refusal(self, action: str) -> Refusal | None:
        """Why the action may not be requested; None when it may.

        Codes: `command_live`, those of `restart_policy.py` for a restart, `no_target`, `no_runner`, `runner_silent`.
        """
        return self._conflict(action) or self._policy_refusal(action) or self._runner_refusal()

    def require(self, action: str) -> Target:
        """The target of an action that may be requested. Raises ApiError 409, see `refusal`."""
        refusal, target = self.refusal(action), target_of(self.agent)
        if refusal is not None or target is None:
            raise (refusal or _NO_TARGET).as_error()
        return target

    def require_grant(self) -> None:
        """Raises ApiError 409 unless a runner may restart its target on its own: it needs neither target nor runner."""
        restart = Command.Action.RESTART
        refusal = self._conflict(restart) or self._policy_refusal(restart)
        if refusal is not None:
            raise refusal.as_error()

    @cached_property
    def _live(self) -> Command | None:
        return self.agent.commands.filter(state__in=Command.LIVE).first()

    @cached_property
    def _context(self) -> restart_policy.RestartContext:
        return restart_context.load(
            self.agent, self.state, self.origin, self.now, incident=self.incident, kinds=self.kinds
        )

    def _conflict(self, action: str) -> Refusal | None:
        if self._live is None or self.superseded(action) is not None:
            return None
        return _in_progress(self._live, self.now)

    def _policy_refusal(self, action: str) -> Refusal | None:
        if action != Command.Action.RESTART:
            return None
        decision = restart_policy.may_restart(self._context, restart_context.delays())
        if decision.allowed:
            return None
        wait = None if decision.at is None else max(1, ceil((decision.at - self.now).total_seconds()))
        # Only people read how long to wait. Programs have `Retry-After`, and tell refusals apart by their text, which
        # must not change every second.
        hint = f" Try again in {spoken(wait)}." if wait and self.origin == restart_policy.PERSON else ""
        return Refusal(decision.code, decision.reason + hint, wait)

    def _runner_refusal(self) -> Refusal | None:
        target = target_of(self.agent)
        if target is None:
            return _NO_TARGET
        if not self.state.runner:
            start = f"clevagent-runner start --watch {target.type}:{target.name}"
            return Refusal("no_runner", f"No runner manages this agent. Start one: `{start}`")
        return None if self._is_runner_polling() else _RUNNER_SILENT

    def _is_runner_polling(self) -> bool:
        polling = Runner.objects.filter(polled_at__gt=self.now - RUNNER_TIMEOUT)
        return polling.filter(project=self.agent.project_id, source=self.state.runner).exists()


_NO_TARGET: Final = Refusal(
    "no_target",
    "No restart target is known: watch the agent with `clevagent-runner`, or name its target in its settings.",
)
_RUNNER_SILENT: Final = Refusal(
    "runner_silent",
    "The runner of this agent has not been heard from for 2 minutes. Check it on its host with "
    "`clevagent-runner status`, or restart the agent there.",
)


def _in_progress(live: Command, now: datetime) -> Refusal:
    """The refusal while another command is live. Its text stays the same as long as it is."""
    what, by = live.get_action_display().capitalize(), _requester(live)
    if live.state == Command.State.PENDING:
        message = f"{what} already requested by {by}; waiting for the runner. It expires within 5 minutes."
    else:
        message = (
            f"{what} requested by {by} was already sent to the runner and cannot be cancelled. "
            "Its result arrives within 5 minutes."
        )
    return Refusal("command_live", message, max(1, ceil((live.expires_at - now).total_seconds())))


def _requester(live: Command) -> str:
    automatic = {restart_policy.WATCHDOG: "the watchdog", restart_policy.RUNNER: "the agent's runner"}
    return automatic.get(live.origin, live.requested_by)
