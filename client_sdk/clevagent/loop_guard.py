"""A local loop detector: tool calls that repeat without a new result. Needs no server."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection
from typing import Any

from clevagent import conversation
from clevagent.limits import Limit
from clevagent.recent import Recent
from clevagent.stops import LoopDetected

# The longest cycle that is looked for, in tool calls.
MAX_PERIOD = 8
# Repetitions where results are unknown, since each call may have returned something new.
UNKNOWN_MORE = 4
# Tools that are meant to be called again, by the words in their names.
POLLS = re.compile(
    r"(?:^|[^a-z])(?:poll|wait|sleep|status|watch|tail|progress|heartbeat|health|ready|pending)(?:[^a-z]|$)", re.I
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
Step = tuple[str, str, str]


class LoopGuard(Limit):
    """Stops a program before the model call that follows a loop of tool calls.

        with clevagent.LoopGuard():
            agent.run()

    A loop is the same call, or the same cycle of up to eight calls, with the same arguments and the same results,
    `repeats` times in a row (at least 2; four more where results are unknown). Tool calls come from `clevagent.tool()`,
    `log_tool_call()` and the integrations, otherwise from the messages that the program sends to the model.

    Polling is no loop: tools with names like `get_status` or `wait` do not count, nor do those in `pollers`.

    Raises LoopDetected from the model call, or from `check()`.
    """

    reads_tools = True

    def __init__(self, repeats: int = 5, *, pollers: Collection[str] = ()) -> None:
        if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 2:
            raise ValueError(f"repeats={repeats!r} is not a whole number of at least 2.")
        self.repeats = repeats
        self._pollers = frozenset(pollers)
        self._steps: deque[Step] = deque(maxlen=(repeats + UNKNOWN_MORE) * MAX_PERIOD)
        self._read = Recent()
        self._is_told = False

    def check(self) -> None:
        steps = list(self._steps)
        for period in range(1, MAX_PERIOD + 1):
            cycle = steps[-period:]
            needed = self.repeats if all(result for _, _, result in cycle) else self.repeats + UNKNOWN_MORE
            if len(cycle) == period and steps[-period * needed :] == cycle * needed:
                raise LoopDetected(_reason(cycle, _laps(steps, period)))

    def uses_tool(self, name: str, args_hash: str, result_hash: str) -> None:
        self._is_told = True
        self._add(name, args_hash, result_hash)

    def starts_call(self, messages: Any) -> None:
        """Read tool calls from the conversation, unless the program reports them."""
        for call in () if self._is_told else conversation.tool_calls(messages):
            if call.id not in self._read:
                self._read.add(call.id)
                self._add(call.name, call.args, call.result)

    def reset(self) -> None:
        """Start over, for example with a new task."""
        self._steps.clear()

    def _add(self, name: str, args: str, result: str) -> None:
        if name in self._pollers or POLLS.search(_CAMEL.sub("_", name)):
            # What was done between two polls is not done twice in a row.
            self._steps.clear()
        else:
            self._steps.append((name, args, result))


def _laps(steps: list[Step], period: int) -> int:
    cycle, laps = steps[-period:], 0
    while steps[len(steps) - (laps + 1) * period : len(steps) - laps * period] == cycle:
        laps += 1
    return laps


def _reason(cycle: list[Step], laps: int) -> str:
    names = " → ".join(name for name, _, _ in cycle)
    what = f"{names} was called" if len(cycle) == 1 else f"{names} was repeated"
    same = " with the same result" if all(result for _, _, result in cycle) else ""
    return f"{what} {laps} times{same}"
