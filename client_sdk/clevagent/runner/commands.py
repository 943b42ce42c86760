"""Commands: executed at most once, and their results reported until the server confirms them.

1. A command for a target this runner does not watch is rejected as "not registered".
2. Its id is written to the state file first, so neither a repeated answer nor a runner restart executes it again.
3. It runs in its own thread.
4. Its result is written to the state file, then reported until the server confirms it.

A command that was running when the runner ended is reported as failed, because its outcome is unknown.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, Callable

from clevagent.transport import Answer

from . import backends, budget
from .backends.base import Outcome, State
from .scheduling import RetryDelay
from .server import Server
from .state import CommandRecord, Store, TargetRecord
from .target import Target

log = logging.getLogger(__name__)

POLL_INTERVAL = 10.0
MAX_POLL_DELAY = 60.0
FIRST_REPORT_DELAY = 2.0
MAX_REPORT_DELAY = 300.0
# Seconds for a restart or stop. systemd alone waits 90 s for a unit to stop before it starts it again.
MAX_ACTION = 120.0
POLL_PAUSE = 0.05
# Statuses that settle a result: command unknown, result already known, or never acceptable.
FINAL = (404, 409, 410, 422)
ACTIONS = ("restart", "stop")
# Origins of commands that no person asked for.
AUTOMATIC = ("watchdog", "runner")
# Seconds for the check before an automatic restart.
MAX_LOOK = 5.0


class CommandExecutor:
    """Accepts, executes and reports commands. `targets` is the allow-list, by type and name."""

    def __init__(
        self,
        server: Server,
        store: Store,
        targets: Callable[[], Mapping[tuple[str, str], Target]],
        ended: threading.Event,
        on_done: Callable[[Target], None],
    ) -> None:
        self._server, self._store, self._targets = server, store, targets
        self._ended, self._on_done = ended, on_done
        self._acts: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()
        self._report_lock = threading.Lock()
        self._has_results = threading.Event()
        # Rejections are not stored: the server may offer the command again to find the right runner.
        self._refusals: dict[str, CommandRecord] = {}
        self._close_unfinished()

    def acting(self, target: Target) -> str:
        """Return the action running on this target, `restart` or `stop`, or ""."""
        return self._acts.get(target.key, "")

    def poll_forever(self) -> None:
        """Poll for commands until the runner ends."""
        delay = RetryDelay(POLL_INTERVAL, MAX_POLL_DELAY)
        problem = ""
        while not self._ended.is_set():
            answer = self._server.ask("GET", "/commands")
            problem = _say_once(problem, _problem(answer, self._server.problem))
            for item in answer.body if answer and answer.accepted and isinstance(answer.body, list) else []:
                self.take(item)
            well = answer is not None and answer.accepted
            self._ended.wait(delay.next(well, answer.retry_after if answer else None))

    def take(self, item: Any) -> None:
        """Accept one command as sent by the server. Malformed ones are logged and skipped."""
        command = _parse_command(item)
        if command is None:
            log.warning("Skipped a malformed command: %.200r", item)
            return
        if str(command.id) in self._store.kept.commands:
            log.info("Command %s was accepted before and is not executed again", command.id)
            return
        refusal = self._refusal(command, item)
        if refusal:
            self._refuse(command, refusal)
        else:
            self._begin(command, self._targets()[command.type, command.target], str(item.get("reason") or ""))

    def restart_without_command(self, target: Target, why: str) -> bool:
        """Restart without a command, because the server is unreachable. Return False if another action is running."""
        if not self._claim(target, "restart"):
            return False
        self._remember_restart(target)
        log.warning("Restarting %s without a command: %s", target, why, extra={"target": target})
        self._start(target, "restart", None)
        return True

    def report_forever(self) -> None:
        """Report results until the runner ends."""
        delay = RetryDelay(FIRST_REPORT_DELAY, MAX_REPORT_DELAY)
        while not self._ended.is_set():
            self._has_results.clear()
            retry_after, well = self.report()
            wait = delay.next(well, retry_after)
            self._has_results.wait(None if well else wait) if well else self._ended.wait(wait)

    def report(self) -> tuple[float | None, bool]:
        """Report every unconfirmed result. Return the server's `Retry-After` and whether all are settled."""
        # At the end of the runner two threads report; neither may repeat what the other is sending.
        with self._report_lock:
            retry_after, well = None, True
            for command in self._unreported():
                body = {"status": command.status, "message": command.message}
                answer = self._server.ask("POST", f"/commands/{command.id}/result", body)
                if answer is not None and (answer.accepted or answer.status in FINAL):
                    self._settle(command, answer)
                else:
                    well = False
                    retry_after = answer.retry_after if answer else retry_after
            return retry_after, well

    def finish(self, seconds: float) -> None:
        """Wait up to `seconds` for running commands and for their results to reach the server."""
        self._has_results.set()
        end = time.monotonic() + seconds
        while self._acts and time.monotonic() < end:
            time.sleep(POLL_PAUSE)
        # report_forever() may have returned before the last command was done.
        if self._unreported():
            last = threading.Thread(target=self._report_last, name="last results", daemon=True)
            last.start()
            last.join(max(0.0, end - time.monotonic()))

    def _report_last(self) -> None:
        try:
            self.report()
        finally:
            self._server.close()

    def _unreported(self) -> list[CommandRecord]:
        commands = list(self._store.kept.commands.values()) + list(self._refusals.values())
        return [command for command in commands if command.status and not command.done]

    def _settle(self, command: CommandRecord, answer: Answer) -> None:
        if not answer.accepted:
            log.warning("The server rejected the result of command %s: %s", command.id, answer.why)
        self._refusals.pop(str(command.id), None)
        with self._store.changing():
            command.done = True

    def _close_unfinished(self) -> None:
        with self._store.changing() as kept:
            for command in kept.commands.values():
                if not command.status:
                    command.status = "failed"
                    command.message = f"The runner ended during the {command.action}; its outcome is unknown"
        self._has_results.set()

    def _refusal(self, command: CommandRecord, item: Mapping[str, Any]) -> str:
        if (command.type, command.target) not in self._targets():
            return f"{command.type}:{command.target} is not registered with this runner"
        target, names = self._targets()[command.type, command.target], _agent_names(item)
        if names and target.agent not in names:
            return f"{target} is watched for {target.agent}, not {names[0]}: it is not registered with this runner"
        if command.action not in ACTIONS:
            return f"{command.action[:50]} is not supported; this runner can restart and stop"
        if item.get("origin") in AUTOMATIC and command.action == "restart" and self._is_stopped(target):
            return f"{target} was stopped on purpose; only a person can restart it"
        expires_in = item.get("expires_in")
        if isinstance(expires_in, (int, float)) and expires_in <= 0:
            return "The command had expired"
        return ""

    def _is_stopped(self, target: Target) -> bool:
        """Whether it was stopped on purpose, maybe since the last check."""
        memory = self._store.target(str(target))
        if memory.held_at is not None or memory.intent:
            return True
        try:
            seen = backends.of(target.type).check(target, MAX_LOOK)
        except Exception:
            log.exception("Checking %s failed", target)
            return False
        return seen.state is State.STOPPED and (seen.ended or seen.doubtful)

    def _refuse(self, command: CommandRecord, why: str) -> None:
        log.warning("Command %s (%s %s:%s) rejected: %s", command.id, command.action, command.type, command.target, why)
        command.status, command.message = "rejected", why
        self._refusals[str(command.id)] = command
        self._has_results.set()

    def _begin(self, command: CommandRecord, target: Target, reason: str) -> None:
        free = self._claim(target, command.action)
        with self._store.changing() as kept:
            if not free:
                command.status = "failed"
                command.message = "This runner is already restarting or stopping it"
            kept.commands[str(command.id)] = command
        if not free:
            self._has_results.set()
            return
        extra = {"target": target, "command": command.id}
        log.warning("Command %s: %s %s. %s", command.id, command.action, target, reason[:200], extra=extra)
        if command.action == "restart":
            self._remember_restart(target)
        self._start(target, command.action, command)

    def _claim(self, target: Target, action: str) -> bool:
        with self._lock:
            free = target.key not in self._acts
            if free:
                self._acts[target.key] = action
            return free

    def _remember_restart(self, target: Target) -> None:
        now = time.time()
        memory = self._store.target(str(target))
        with self._store.changing():
            memory.restarts = [*budget.recent(memory.restarts, now), now]

    def _start(self, target: Target, action: str, command: CommandRecord | None) -> None:
        name = f"{action} {target}"
        threading.Thread(target=self._act, args=(target, action, command), name=name, daemon=True).start()

    def _act(self, target: Target, action: str, command: CommandRecord | None) -> None:
        outcome = _do(target, action)
        level = logging.WARNING if outcome.ok else logging.ERROR
        log.log(level, "%s of %s: %s", action, target, outcome.message, extra={"target": target})
        memory = self._store.target(str(target))
        with self._store.changing():
            _hold(memory, action, outcome, time.time())
            if command is not None:
                command.status = "completed" if outcome.ok else "failed"
                command.message = outcome.message
        with self._lock:
            del self._acts[target.key]
        self._has_results.set()
        self._on_done(target)


def _do(target: Target, action: str) -> Outcome:
    try:
        backend = backends.of(target.type)
        return (backend.stop if action == "stop" else backend.restart)(target, MAX_ACTION)
    except Exception as error:
        # A bug in a backend fails this command, but must not block the target forever.
        log.exception("%s of %s failed", action, target)
        return Outcome(False, f"Error in the runner: {type(error).__name__}: {error}")


def _hold(memory: TargetRecord, action: str, outcome: Outcome, now: float) -> None:
    """A stop lasts until a person or a restart command starts the target again."""
    if action == "stop" and outcome.ok:
        memory.held_at, memory.held_seen = now, False
    elif action == "restart":
        memory.held_at, memory.intent = None, ""


def _agent_names(item: Mapping[str, Any]) -> list[str]:
    """The names of the command's agent; none from a server that does not send them."""
    names = item.get("names")
    if not isinstance(names, list) or not names:
        names = [item.get("agent")]
    return [name for name in names if isinstance(name, str) and name]


def _parse_command(item: Any) -> CommandRecord | None:
    if not isinstance(item, dict):
        return None
    number, texts = item.get("id"), [item.get(name) for name in ("action", "type", "target")]
    if not isinstance(number, int) or not all(isinstance(text, str) and text for text in texts):
        return None
    action, kind, target = (str(text) for text in texts)
    return CommandRecord(number, action, kind, target, time.time())


def _problem(answer: Answer | None, unreachable: str) -> str:
    if answer is None:
        return f"The server is unreachable: {unreachable}. Watching continues."
    if not answer.accepted:
        return f"Cannot fetch commands: {answer.why}"
    if not isinstance(answer.body, list):
        return f"The server did not answer with a list of commands: {answer.body!r:.200}"
    return ""


def _say_once(before: str, now: str) -> str:
    """Log changes only, not every attempt."""
    if now and now != before:
        log.warning("%s", now)
    elif before and not now:
        log.info("Fetching commands works again")
    return now
