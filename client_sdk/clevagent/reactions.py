"""Carries out the program's reactions to the server's warnings."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from clevagent.log import log
from clevagent.options import Options, Reaction
from clevagent.stops import BudgetExceeded, Held, LoopDetected

Key = tuple[Any, Any]
LOOP, COST = "loop", "cost"
KINDS = {"loop_detected": LOOP, "cost_exceeded": COST}
MAX_REMEMBERED = 1000
# Seconds, and intervals, after which an answer no longer stops anything: the server may be away.
STALE, STALE_INTERVALS = 300.0, 3


class Reason(NamedTuple):
    """Passed to a callable given as `on_loop` or `on_cost_exceeded`.

    `kind` is "loop" or "cost", `text` a sentence with the evidence, `url` the incident's page.
    """

    kind: str
    text: str
    incident: int | None = None
    url: str | None = None

    def __str__(self) -> str:
        return self.text


class Reactions:
    """Handles each answer. Reactions run once per incident, on the reporting thread."""

    def __init__(
        self,
        options: Options,
        stop: Callable[[str, float | None], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reactions: dict[str, Reaction] = {LOOP: options.on_loop, COST: options.on_cost_exceeded}
        self._stop = stop
        self._grace = options.stop_grace
        self._handled: list[Key] = []
        self._flagged: Key | None = None
        self._clock, self._heard_at = clock, 0.0
        self._valid = max(STALE, STALE_INTERVALS * options.interval)
        # The open warnings by kind.
        self._open: dict[str, Reason] = {}
        self.hold = False

    @property
    def should_stop(self) -> bool:
        return self.hold or self._flagged is not None

    def reaction_to(self, kind: str) -> Reaction:
        return self._reactions[kind]

    def check(self, kinds: Collection[str]) -> None:
        """Raise a `Stop` if the server holds the agent, or warned of one of these kinds in an incident still open."""
        if not kinds or self._clock() - self._heard_at > self._valid:
            return
        loop, cost = self._open.get(LOOP), self._open.get(COST)
        if COST in kinds and cost is not None:
            raise BudgetExceeded(cost.text, cost.incident, cost.url)
        if LOOP in kinds and loop is not None:
            raise LoopDetected(loop.text, loop.incident, loop.url)
        if self.hold and not self._open:
            raise Held("the server holds this agent until a person decides")

    def handle(self, answer: Any) -> None:
        """Handle the answer to one heartbeat."""
        if not isinstance(answer, dict):
            return
        incident = answer.get("incident")
        incident = incident if isinstance(incident, dict) else {}
        self._heard_at = self._clock()
        if self.hold and answer.get("hold") is False:
            # Lifted, for example by a higher budget, while the incident may go on for another reason.
            self._open.pop(COST, None)
        self.hold = answer.get("hold") is True
        kind = KINDS.get(str(answer.get("warning")))
        key = (incident.get("id"), kind)
        self._open = {name: reason for name, reason in self._open.items() if reason.incident == incident.get("id")}
        if kind is not None:
            self._open[kind] = _reason(kind, answer, incident)
        if kind is None:
            # The server names an incident's warning once. The flag stays until answers no longer name the incident.
            self._flagged = self._flagged if self._flagged and self._flagged[0] == incident.get("id") else None
        elif key not in self._handled:
            self._handled = [*self._handled[-MAX_REMEMBERED:], key]
            self._react(key, _reason(kind, answer, incident))

    def _react(self, key: Key, reason: Reason) -> None:
        reaction = self._reactions[reason.kind]
        log.warning("%s: %s", reason.kind, reason.text)
        if callable(reaction):
            _call(reaction, reason)
        elif reaction != "alert_only":
            self._flagged = key
            if reaction not in ("flag", "raise"):
                self._stop(reason.text, self._grace if reaction == "force_stop" else None)


def _reason(kind: str, answer: dict[str, Any], incident: dict[str, Any]) -> Reason:
    return Reason(kind, str(answer.get("reason") or kind), incident.get("id"), incident.get("url"))


def _call(reaction: Callable[..., Any], reason: Reason) -> None:
    try:
        reaction(*([reason] if _takes_one(reaction) else []))
    except Exception:
        log.exception("the %s callback failed", reason.kind)


def _takes_one(reaction: Callable[..., Any]) -> bool:
    import inspect  # slow to import, and most programs never need it

    try:
        inspect.signature(reaction).bind(None)
        return True
    except TypeError:
        return False
    except ValueError:  # a callable without a readable signature
        return False
