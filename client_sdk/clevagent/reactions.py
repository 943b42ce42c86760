"""Carries out the program's reactions to the server's warnings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from clevagent.log import log
from clevagent.options import Options, Reaction

Key = tuple[Any, Any]
KINDS = {"loop_detected": "loop", "cost_exceeded": "cost"}
MAX_REMEMBERED = 1000


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

    def __init__(self, options: Options, stop: Callable[[str, float | None], None]) -> None:
        self._reactions: dict[str, Reaction] = {"loop": options.on_loop, "cost": options.on_cost_exceeded}
        self._stop = stop
        self._grace = options.stop_grace
        self._handled: list[Key] = []
        self._flagged: Key | None = None
        self.hold = False

    @property
    def should_stop(self) -> bool:
        return self.hold or self._flagged is not None

    def handle(self, answer: Any) -> None:
        """Handle the answer to one heartbeat."""
        if not isinstance(answer, dict):
            return
        incident = answer.get("incident")
        incident = incident if isinstance(incident, dict) else {}
        self.hold = answer.get("hold") is True
        kind = KINDS.get(str(answer.get("warning")))
        key = (incident.get("id"), kind)
        if kind is None:
            # The server names an incident's warning once. The flag stays until answers no longer name the incident.
            self._flagged = self._flagged if self._flagged and self._flagged[0] == incident.get("id") else None
        elif key not in self._handled:
            self._handled = [*self._handled[-MAX_REMEMBERED:], key]
            self._react(key, Reason(kind, str(answer.get("reason") or kind), incident.get("id"), incident.get("url")))

    def _react(self, key: Key, reason: Reason) -> None:
        reaction = self._reactions[reason.kind]
        log.warning("%s: %s", reason.kind, reason.text)
        if callable(reaction):
            _call(reaction, reason)
        elif reaction != "alert_only":
            self._flagged = key
            if reaction != "flag":
                self._stop(reason.text, self._grace if reaction == "force_stop" else None)


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
