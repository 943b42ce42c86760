"""One target's watch, in a thread of its own: look, say what was seen, restart what may be restarted."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from clevagent.transport import Answer
from clevagent.version import AGENT

from . import backends, budget
from .backends.base import Evidence, Observation, Probe, State
from .commands import Desk
from .server import Server
from .state import Memory, Store
from .status_report import StatusReport, claim
from .target import Target

log = logging.getLogger(__name__)

# Seconds for one look: within the interval, so that the report comes in time, and time enough to start a program.
CHECK_WITHIN = 10.0
MIN_CHECK = 2.0
# A stopped target may still be shown as running for a moment; after so many seconds somebody has started it.
HOLD_SETTLES = 120.0
# While the server cannot be told, it is tried again after so many seconds, or one interval if that is shorter.
TELL_AGAIN = 10.0
# Seconds for which a target has to be down, and is looked at once more, before it is restarted without a command.
CONFIRM_AFTER = 5.0
# A refusal that names no time is asked about again after so many seconds.
ASK_AGAIN = 60.0
LEVELS = {"ok": logging.INFO, "shutdown": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


@dataclass
class Watch:
    """Watches one target every `interval` seconds until `ended` is set."""

    target: Target
    server: Server
    store: Store
    desk: Desk
    interval: float
    ended: threading.Event
    probe: Probe | None = None
    instance: str = field(default_factory=lambda: uuid.uuid4().hex)
    seq: int = 0
    turned_at: float = field(default_factory=time.monotonic)
    ask_not_before: float = 0.0
    quiet_until: float = 0.0

    def __post_init__(self) -> None:
        self.woken = threading.Event()
        self._silent = self._refused = ""
        with self.store.changing(durable=False):
            self.memory.agent = self.target.agent

    @property
    def memory(self) -> Memory:
        return self.store.target(str(self.target))

    def run(self) -> None:
        """Turn after turn. Whatever goes wrong in one is logged, and the next one comes."""
        while not self.ended.is_set():
            begun, told = time.monotonic(), False
            try:
                told = self.turn(time.time())
            except Exception:
                log.exception("A look at %s failed", self.target, extra={"target": self.target})
            self.turned_at = time.monotonic()
            wait = self.interval if told else min(self.interval, TELL_AGAIN)
            if self.target.restart_on_down and self._is_fresh(time.time()):
                wait = min(wait, CONFIRM_AFTER)
            self.woken.wait(max(0.0, begun + wait - self.turned_at))
            self.woken.clear()

    def wake(self) -> None:
        """Look again now."""
        self.woken.set()

    def turn(self, now: float) -> bool:
        """One look and what follows from it. Answers whether the server took the report."""
        seen = self.look()
        acting = self.desk.acting(self.target)
        self._note(seen, now)
        said = claim(seen, held=self.memory.held_at is not None, acting=acting)
        self._log(said)
        told = self._tell(self.beat(seen, said, now), said, now)
        if not acting:
            self._consider(seen, now)
        return told

    def look(self) -> Observation:
        """What the backend sees; its own fault is "unknown"."""
        try:
            return backends.of(self.target.type).check(self.target, _patience(self.interval))
        except Exception as error:
            log.exception("The %s backend failed", self.target.type, extra={"target": self.target})
            return Observation(State.UNKNOWN, why=f"the runner's own fault: {type(error).__name__}: {error}")

    def beat(self, seen: Observation, said: StatusReport, now: float) -> dict[str, Any]:
        """The heartbeat that tells of it."""
        self.seq += 1
        moved, shown = self._moved(seen, now)
        beat: dict[str, Any] = {
            "agent": self.target.agent,
            "status": said.status,
            "message": said.message,
            "restart_type": self.target.type,
            "restart_target": self.target.name,
            "interval": self.interval,
            "instance": self.instance,
            "beat_id": uuid.uuid4().hex,
            "seq": self.seq,
            "sdk": f"{AGENT} runner",
            "evidence": {**seen.evidence, **shown, **self._own_evidence(now)},
            "labels": dict(self.target.labels),
            "progress": moved,
            "progress_timeout": self.target.progress_timeout,
        }
        return {name: value for name, value in beat.items() if value not in (None, "", {})}

    def _moved(self, seen: Observation, now: float) -> tuple[bool | None, Evidence]:
        if self.probe is None or seen.state is State.STOPPED:
            return None, {}
        try:
            return self.probe.look(now)
        except Exception:
            log.exception("The probe of %s failed", self.target, extra={"target": self.target})
            return None, {}

    def _own_evidence(self, now: float) -> Evidence:
        made = len(budget.kept(self.memory.restarts, now))
        return {"restarts_by_runner": made} if made else {}

    def _note(self, seen: Observation, now: float) -> None:
        with self.store.changing(durable=False):
            memory = self.memory
            memory.state, memory.why, memory.evidence = seen.state.value, seen.why, seen.evidence
            memory.seen_at = now
            if seen.state is State.RUNNING:
                memory.down_since, memory.gave_up, memory.refused = None, False, ""
                self._release(memory, now)
            elif seen.state is State.STOPPED:
                memory.down_since = memory.down_since or now
                memory.held_seen = True

    def _release(self, memory: Memory, now: float) -> None:
        """A held target that runs again was started by a person: the stop holds no longer."""
        if memory.held_at is not None and (memory.held_seen or now - memory.held_at > HOLD_SETTLES):
            log.warning("%s runs again, so its stop holds no longer", self.target, extra={"target": self.target})
            memory.held_at = None

    def _log(self, said: StatusReport) -> None:
        if said != StatusReport(self.memory.status, self.memory.message):
            text = said.message or "running"
            log.log(LEVELS[said.status], "%s: %s", self.target, text, extra={"target": self.target})

    def _tell(self, beat: dict[str, Any], said: StatusReport, now: float) -> bool:
        """Send it, unless the server has asked not to be told for a while. The next one says all that this one did."""
        with self.store.changing(durable=False):
            self.memory.status, self.memory.message = said.status, said.message
        if now < self.quiet_until:
            return False
        answer = self.server.ask("POST", "/heartbeat", beat)
        told = answer is not None and answer.accepted
        self.quiet_until = now + (answer.retry_after or 0) if answer is not None and not told else 0.0
        self._say_silence("" if told else answer.why if answer is not None else self.server.trouble)
        if told:
            with self.store.changing(durable=False):
                self.memory.told_at = now
                self.memory.hold = bool(answer and isinstance(answer.body, dict) and answer.body.get("hold"))
        return told

    def _say_silence(self, why: str) -> None:
        """What changed, not every try."""
        if why and why != self._silent:
            log.warning("The server was not told of %s: %s", self.target, why, extra={"target": self.target})
        self._silent = why

    def _consider(self, seen: Observation, now: float) -> None:
        """Restart what is down, where that was asked for: by leave of the server, else within the own budget."""
        if not self.target.restart_on_down or seen.state is not State.STOPPED or seen.ended:
            return
        if self.memory.held_at is not None or now < self.ask_not_before or self._is_fresh(now):
            return
        answer = self._ask(seen)
        if answer is None:
            self._restart_alone(now)
        elif answer.accepted:
            self.desk.take(answer.body)
        else:
            self._obey(answer, now)

    def _is_fresh(self, now: float) -> bool:
        """Whether it was found stopped only just now: somebody may be about to start it again."""
        return self.memory.down_since is not None and now - self.memory.down_since < CONFIRM_AFTER

    def _obey(self, answer: Answer, now: float) -> None:
        """A refusal that names no time lasts, also when the server can no longer be asked, until the target runs."""
        self.ask_not_before = now + (answer.retry_after or ASK_AGAIN)
        if answer.why != self._refused:
            log.warning("%s is not restarted: %s", self.target, answer.why, extra={"target": self.target})
        self._refused = answer.why
        with self.store.changing():
            self.memory.refused = "" if answer.retry_after else answer.why

    def _ask(self, seen: Observation) -> Answer | None:
        """The server's word on a restart; None when it has none: not reached, broken, or too old to be asked."""
        cause = claim(seen).message
        body = {"agent": self.target.agent, "type": self.target.type, "target": self.target.name, "cause": cause}
        answer = self.server.ask("POST", "/commands", body)
        return None if answer is None or answer.status >= 500 or answer.status in (404, 405) else answer

    def _restart_alone(self, now: float) -> None:
        memory = self.memory
        if memory.gave_up or memory.hold or memory.refused:
            return
        verdict = budget.decide(memory.restarts, now)
        if verdict.gave_up:
            with self.store.changing():
                memory.gave_up = True
            text = "%s %s; start it yourself, and the runner watches on"
            log.critical(text, self.target, verdict.why, extra={"target": self.target})
        elif verdict.allowed:
            self.desk.restart_by_itself(self.target, f"it is down and the server cannot be asked ({verdict.why})")


def _patience(interval: float) -> float:
    return max(MIN_CHECK, min(CHECK_WITHIN, interval))
