"""What the server, and the daily budget that the client knows, say about the next model call."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from clevagent import limits
from clevagent.limits import Limit
from clevagent.options import Options
from clevagent.reactions import COST, LOOP, Reactions
from clevagent.stops import BudgetExceeded

EVERY_KIND = (LOOP, COST)


class AgentLimit(Limit):
    """The limits of the reporting agent. By itself it stops only what `on_loop="raise"` and the like ask for."""

    def __init__(self, options: Options, reactions: Reactions, wall: Callable[[], float] = time.time) -> None:
        self._reactions, self._wall = reactions, wall
        self._limit = None if options.cost_limit_usd is None else Decimal(str(options.cost_limit_usd))
        self._asked = [kind for kind in EVERY_KIND if reactions.reaction_to(kind) == "raise"]
        self._day, self._spent = "", Decimal(0)

    def check(self) -> None:
        self.check_for(self._asked)

    def check_for(self, kinds: Collection[str]) -> None:
        """Raise a `Stop` for a loop or an exceeded budget, if it is one of these kinds."""
        self._reactions.check(kinds)
        if COST in kinds and self._is_exceeded():
            raise BudgetExceeded(f"${self._spent:.2f} of today's budget of ${self._limit:.2f} are spent")

    def uses(self, usd: Decimal | None) -> None:
        self._begin_day()
        self._spent += usd or Decimal(0)

    def heard(self, answer: Any, *, is_all_known: bool) -> None:
        """The server knows more: another day's budget, a raised one, one that a person waived. Then start over."""
        if is_all_known and isinstance(answer, dict) and answer.get("hold") is False and self._is_exceeded():
            with limits.locked():
                self._spent = Decimal(0)

    def _is_exceeded(self) -> bool:
        self._begin_day()
        return self._limit is not None and self._spent >= self._limit

    def _begin_day(self) -> None:
        day = datetime.fromtimestamp(self._wall(), timezone.utc).date().isoformat()
        if day != self._day:
            self._day, self._spent = day, Decimal(0)


class Guard(Limit):
    """Returned by `clevagent.guard()`: applies to the whole process, or to the block that it is used as."""

    def __init__(self, agent: Callable[[], AgentLimit | None], own: Collection[Limit]) -> None:
        self._agent, self._own = agent, own
        self.reads_tools = any(limit.reads_tools for limit in own)

    def is_plain(self: Limit) -> bool:
        """Whether it is a guard without limits of its own."""
        return isinstance(self, Guard) and not self._own

    def check(self) -> None:
        agent = self._agent()
        if agent is not None:
            agent.check_for(EVERY_KIND)
        for limit in self._own:
            limit.check()

    def starts_call(self, messages: Any) -> None:
        for limit in self._own:
            limit.starts_call(messages)

    def uses(self, usd: Decimal | None) -> None:
        for limit in self._own:
            limit.uses(usd)

    def uses_tool(self, name: str, args_hash: str, result_hash: str) -> None:
        for limit in self._own:
            limit.uses_tool(name, args_hash, result_hash)

    def __enter__(self) -> Guard:
        # Within a block, only there.
        limits.remove(self)
        return super().__enter__()
