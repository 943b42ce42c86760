"""A restart or a stop that somebody wants at this moment, and what speaks against it.

The service asks here under the lock of the agent's row, before it writes; pages ask before they offer a button. It is
the same code, so they do not disagree. Reads, never writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cached_property
from math import ceil
from typing import Final

from agents.commands import restart_context
from agents.domain import restart_policy
from agents.domain.durations import spoken
from agents.models import Agent, AgentState, Command, Incident, Runner
from teams.errors import ApiError

# A runner asks every 10 s; after this long it is not there.
LISTENING: Final = timedelta(minutes=2)


def target_of(agent: Agent) -> tuple[str, str] | None:
    """What a runner would restart: as a person set it, else as it was last reported. None when neither is known."""
    if agent.restart_type and agent.restart_target:
        return agent.restart_type, agent.restart_target
    state = agent.state
    return (state.restart_type, state.restart_target) if state.restart_type and state.restart_target else None


class Preflight:
    """By `origin` (one of `restart_policy.py`), at `now`. Rows are read when they are needed, and once.

    `incident` is what it is wanted for, else the one that stands; `seen` are kinds of signals that the asker sees.
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
        self._wanted_for, self._seen = incident, frozenset(seen)

    @cached_property
    def incident(self) -> Incident | None:
        return self._wanted_for or Incident.objects.open().filter(pk=self.state.incident_id or 0).first()

    @cached_property
    def kinds(self) -> frozenset[str]:
        """What is wrong with the agent."""
        return self._seen | restart_context.standing_kinds(self.agent)

    def superseded(self, action: str) -> Command | None:
        """What gives way to a person's word as no runner took it: what the watchdog wants; to a stop, any restart."""
        live = self._live
        if live is None or live.state != Command.State.PENDING or self.origin != restart_policy.PERSON:
            return None
        stops = (live.action, action) == (Command.Action.RESTART, Command.Action.STOP)
        return live if stops or live.origin == Command.Origin.WATCHDOG else None

    def refusal(self, action: str) -> ApiError | None:
        """What `require` would raise; None: nothing."""
        try:
            self.require(action)
        except ApiError as refused:
            return refused
        return None

    @cached_property
    def caution(self) -> str:
        """What would keep anything automatic from a restart, for a person to consider; empty: nothing."""
        verdict = restart_policy.caution(self._case, restart_context.delays())
        return verdict.reason if verdict else ""

    def require(self, action: str) -> tuple[str, str]:
        """The target, if it may be asked for.

        Raises ApiError 409 with what to do: `no_target`, `no_runner`, `runner_silent`, `command_live`, and for a
        restart the codes of `restart_policy.py`, with a time to try again where that is all.
        """
        self.require_free(action)
        if action == Command.Action.RESTART:
            self.require_leave()
        return self._require_runner()

    def require_free(self, action: str) -> None:
        """Raises ApiError 409 while another command is on its way, unless that gives way."""
        if self._live is not None and self.superseded(action) is None:
            raise in_the_way(self._live, self.now)

    def require_leave(self) -> None:
        """Raises ApiError 409 where `restart_policy.py` speaks against a restart."""
        verdict = restart_policy.may_restart(self._case, restart_context.delays())
        if verdict.allowed:
            return
        wait = None if verdict.at is None else max(1, ceil((verdict.at - self.now).total_seconds()))
        # Programs read the header, and notice a new refusal by its words.
        again = f" It can be restarted in {spoken(wait)}." if wait and self.origin == restart_policy.PERSON else ""
        raise ApiError(409, verdict.code, verdict.reason + again, retry_after=wait)

    @cached_property
    def _live(self) -> Command | None:
        return self.agent.commands.filter(state__in=Command.LIVE).first()

    @cached_property
    def _case(self) -> restart_policy.RestartContext:
        incident, kinds = self.incident, self.kinds
        return restart_context.case(self.agent, self.state, self.origin, self.now, incident=incident, kinds=kinds)

    def _require_runner(self) -> tuple[str, str]:
        target, runner = target_of(self.agent), self.state.runner
        if target is None:
            message = (
                "No restart target is known: watch the agent with clevagent-runner, or set restart_type and "
                "restart_target."
            )
            raise ApiError(409, "no_target", message)
        if not runner:
            start = f"clevagent-runner start --watch {target[0]}:{target[1]}"
            raise ApiError(409, "no_runner", f"No runner has reported this agent. Start one: `{start}`")
        listening = Runner.objects.filter(polled_at__gt=self.now - LISTENING)
        if not listening.filter(project=self.agent.project_id, source=runner).exists():
            message = (
                "The runner that watches this agent has not asked for commands for 2 minutes: see on its host whether "
                "it runs (`clevagent-runner status`), or do it there by hand."
            )
            raise ApiError(409, "runner_silent", message)
        return target


def in_the_way(live: Command, now: datetime) -> ApiError:
    """The refusal because of a command that is on its way. Its words stay the same while it is."""
    by = {restart_policy.WATCHDOG: "the watchdog", restart_policy.RUNNER: "its runner"}.get(
        live.origin, live.requested_by
    )
    what = f"A {live.action} of {live.agent}, asked for by {by},"
    if live.state == Command.State.PENDING:
        message = f"{what} waits for its runner. Ask again when its result is here, within 5 minutes."
    else:
        message = (
            f"{what} was handed to the runner already and cannot be called back. "
            "Ask again when its result is here, within 5 minutes."
        )
    wait = max(1, ceil((live.expires_at - now).total_seconds()))
    return ApiError(409, "command_live", message, retry_after=wait)
