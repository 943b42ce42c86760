"""Watches one target in its own thread: check it, report it, and restart it if that is allowed."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from clevagent.transport import Answer
from clevagent.version import AGENT

from . import backends, budget, last_lines
from .backends.base import Evidence, Observation, Probe, State
from .commands import CommandExecutor
from .server import Server
from .state import Store, TargetRecord
from .status_report import DOUBTFUL, STOPPED, StatusReport, status_report
from .target import Target

log = logging.getLogger(__name__)

# Seconds per check: less than the interval, so reports are on time, but enough to start a program.
MAX_CHECK = 10.0
MIN_CHECK = 2.0
# Seconds. A stopped target can briefly appear as running; after this, someone has started it.
HOLD_SETTLE_TIME = 120.0
# Seconds between attempts while the server is unreachable, unless the interval is shorter.
RESEND_DELAY = 10.0
# Seconds a target must be down, and is checked again, before it is restarted without a command.
CONFIRM_DELAY = 5.0
# Seconds until the next request after a refusal without `Retry-After`.
REFUSAL_DELAY = 60.0
LEVELS = {"ok": logging.INFO, "shutdown": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


@dataclass
class Watch:
    """Watches one target every `interval` seconds until `ended` is set."""

    target: Target
    server: Server
    store: Store
    executor: CommandExecutor
    interval: float
    ended: threading.Event
    probe: Probe | None = None
    instance: str = field(default_factory=lambda: uuid.uuid4().hex)
    seq: int = 0
    checked_at: float = field(default_factory=time.monotonic)
    next_request_at: float = 0.0
    quiet_until: float = 0.0
    has_sent_log: bool = False

    def __post_init__(self) -> None:
        self.woken = threading.Event()
        self._silent = self._refused = ""
        with self.store.changing(durable=False):
            self.memory.agent = self.target.agent

    @property
    def memory(self) -> TargetRecord:
        return self.store.target(str(self.target))

    def run(self) -> None:
        """Check repeatedly. Errors are logged and do not end the loop."""
        while not self.ended.is_set():
            begun, sent = time.monotonic(), False
            try:
                sent = self.check_once(time.time())
            except Exception:
                log.exception("Checking %s failed", self.target, extra={"target": self.target})
            self.checked_at = time.monotonic()
            wait = self.interval if sent else min(self.interval, RESEND_DELAY)
            if self.target.restart_on_down and self._is_just_down(time.time()):
                wait = min(wait, CONFIRM_DELAY)
            self.woken.wait(max(0.0, begun + wait - self.checked_at))
            self.woken.clear()

    def wake(self) -> None:
        """Check again now."""
        self.woken.set()

    def check_once(self, now: float) -> bool:
        """Check the target and act on the result. Return whether the server accepted the report."""
        seen = self.look()
        acting = self.executor.acting(self.target)
        self._note(seen, now)
        held = self.memory.held_at is not None
        report = status_report(seen, held=held, acting=acting, intent=self.memory.intent)
        self._log(report)
        sent = self._send(self.beat(seen, report, now), report, now)
        if not acting:
            self._restart_if_down(seen, now)
        return sent

    def look(self) -> Observation:
        """Return what the backend sees. A bug in the backend counts as "unknown"."""
        try:
            return backends.of(self.target.type).check(self.target, _patience(self.interval))
        except Exception as error:
            log.exception("The %s backend failed", self.target.type, extra={"target": self.target})
            return Observation(State.UNKNOWN, why=f"error in the runner: {type(error).__name__}: {error}")

    def beat(self, seen: Observation, report: StatusReport, now: float) -> dict[str, Any]:
        """Build the heartbeat for an observation."""
        self.seq += 1
        moved, shown = self._moved(seen, now)
        beat: dict[str, Any] = {
            "agent": self.target.agent,
            "status": report.status,
            "message": report.message,
            "intent": report.intent,
            "restart_type": self.target.type,
            "restart_target": self.target.name,
            "interval": self.interval,
            "instance": self.instance,
            "beat_id": uuid.uuid4().hex,
            "seq": self.seq,
            "sdk": f"{AGENT} runner",
            "custom_data": self._last_lines(seen, report),
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

    def _last_lines(self, seen: Observation, report: StatusReport) -> str:
        """Once per failure, because the server keeps them as long as it lasts."""
        if seen.state is State.RUNNING:
            self.has_sent_log = False
        is_wanted = report.status == "error" and not self.has_sent_log
        return last_lines.of(self.target, _patience(self.interval)) if is_wanted else ""

    def _own_evidence(self, now: float) -> Evidence:
        made = len(budget.recent(self.memory.restarts, now))
        return {"restarts_by_runner": made} if made else {}

    def _note(self, seen: Observation, now: float) -> None:
        self._remember_intent(seen)
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

    def _remember_intent(self, seen: Observation) -> None:
        """Keep what is known of its end until it runs again, because Docker soon forgets that someone stopped it."""
        memory = self.memory
        if seen.state is State.UNKNOWN:
            return
        intent = STOPPED if seen.ended else DOUBTFUL if seen.doubtful else ""
        is_known = seen.state is State.STOPPED and memory.down_since is not None and seen.run == memory.run
        if is_known and intent != STOPPED:
            intent = memory.intent
        if (intent, seen.run) != (memory.intent, memory.run):
            with self.store.changing(durable=intent != memory.intent):
                memory.intent, memory.run = intent, seen.run

    def _release(self, memory: TargetRecord, now: float) -> None:
        """End a stop: a held target that runs again was started by a person."""
        if memory.held_at is not None and (memory.held_seen or now - memory.held_at > HOLD_SETTLE_TIME):
            log.warning("%s is running again, which ends its stop", self.target, extra={"target": self.target})
            memory.held_at = None

    def _log(self, report: StatusReport) -> None:
        if report != StatusReport(self.memory.status, self.memory.message):
            text = report.message or "running"
            log.log(LEVELS[report.status], "%s: %s", self.target, text, extra={"target": self.target})

    def _send(self, beat: dict[str, Any], report: StatusReport, now: float) -> bool:
        """Send the heartbeat unless the server asked for a pause. The next heartbeat repeats everything in this one."""
        with self.store.changing(durable=False):
            self.memory.status, self.memory.message = report.status, report.message
        if now < self.quiet_until:
            return False
        answer = self.server.ask("POST", "/heartbeat", beat)
        sent = answer is not None and answer.accepted
        self.quiet_until = now + (answer.retry_after or 0) if answer is not None and not sent else 0.0
        self._log_failure("" if sent else answer.why if answer is not None else self.server.problem)
        if sent:
            self.has_sent_log = self.has_sent_log or "custom_data" in beat
            with self.store.changing(durable=False):
                self.memory.told_at = now
                self.memory.hold = bool(answer and isinstance(answer.body, dict) and answer.body.get("hold"))
        return sent

    def _log_failure(self, why: str) -> None:
        """Log changes only, not every attempt."""
        if why and why != self._silent:
            log.warning("Could not report %s: %s", self.target, why, extra={"target": self.target})
        self._silent = why

    def _restart_if_down(self, seen: Observation, now: float) -> None:
        """Restart a target that is down if allowed: by the server, or if unreachable, by the runner's own budget."""
        if not self.target.restart_on_down or seen.state is not State.STOPPED or self.memory.intent:
            return
        if self.memory.held_at is not None or now < self.next_request_at or self._is_just_down(now):
            return
        answer = self._ask(seen)
        if answer is None:
            self._restart_alone(now)
        elif answer.accepted:
            self.executor.take(answer.body)
        else:
            self._accept_refusal(answer, now)

    def _is_just_down(self, now: float) -> bool:
        """Whether it went down only just now, so that something may be about to start it again."""
        return self.memory.down_since is not None and now - self.memory.down_since < CONFIRM_DELAY

    def _accept_refusal(self, answer: Answer, now: float) -> None:
        """Remember a refusal. Without `Retry-After` it lasts until the target runs, even if the server becomes
        unreachable.
        """
        self.next_request_at = now + (answer.retry_after or REFUSAL_DELAY)
        if answer.why != self._refused:
            log.warning("Not restarting %s: %s", self.target, answer.why, extra={"target": self.target})
        self._refused = answer.why
        with self.store.changing():
            self.memory.refused = "" if answer.retry_after else answer.why

    def _ask(self, seen: Observation) -> Answer | None:
        """Return the server's decision on a restart, or None if it is unreachable, failing or too old to decide."""
        cause = status_report(seen).message
        body = {"agent": self.target.agent, "type": self.target.type, "target": self.target.name, "cause": cause}
        answer = self.server.ask("POST", "/commands", body)
        return None if answer is None or answer.status >= 500 or answer.status in (404, 405) else answer

    def _restart_alone(self, now: float) -> None:
        memory = self.memory
        if memory.gave_up or memory.hold or memory.refused:
            return
        decision = budget.decide(memory.restarts, now)
        if decision.gave_up:
            with self.store.changing():
                memory.gave_up = True
            text = "%s %s; start it yourself, and the runner resumes watching"
            log.critical(text, self.target, decision.why, extra={"target": self.target})
        elif decision.allowed:
            self.executor.restart_without_command(
                self.target, f"it is down and the server is unreachable ({decision.why})"
            )


def _patience(interval: float) -> float:
    return max(MIN_CHECK, min(MAX_CHECK, interval))
