"""Reporting for one agent: the calls a program makes, connected to the parts that carry them out."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from clevagent import progress, systemd
from clevagent.counters import COUNTS, number
from clevagent.crash import CrashHooks
from clevagent.failures import is_purposeful
from clevagent.guard import AgentLimit
from clevagent.interrupt import stop_program
from clevagent.log import log, warn_once
from clevagent.options import MAX_NAME_LENGTH, Options
from clevagent.reactions import Reactions
from clevagent.recorder import Recorder, Wait
from clevagent.redact import clean, redacted, storable, text_of, traceback_of, without_values
from clevagent.reporter import Reporter, RequestSender
from clevagent.serialization import MAX_ARGS_LENGTH, custom_text
from clevagent.transport import Transport
from clevagent.worker import Worker

# Seconds the SDK may hold up the end of the program.
EXIT_WITHIN = 2.0
# Minimum seconds between updates of systemd's status line.
STATUS_EVERY = 1.0
# Maximum characters of what a declared wait is for.
MAX_WAIT_LENGTH = 100
STATUSES = ("ok", "warning", "error", "shutdown")
UNSET: Any = object()


class Client:
    """Implements the public functions of the package. `init()` creates the instance."""

    def __init__(
        self,
        options: Options,
        *,
        transport: RequestSender | None = None,
        clock: Callable[[], float] = time.monotonic,
        report_crashes: bool = True,
    ) -> None:
        self.options = options
        self.is_closed = False
        self._close_by: float | None = None
        self.has_crashed = False
        self._clock = clock
        self._transport = transport or Transport(options.endpoint, options.api_key)
        self.recorder = Recorder(clock, self._wake)
        self.reactions = Reactions(options, self._stop, clock)
        self.limit = AgentLimit(options, self.reactions)
        self.pid = os.getpid()
        self._parent: int | None = None
        self.reporter = Reporter(options, self.recorder, self._transport, self._heard, is_main=self._is_main)
        self._worker = Worker(self.reporter, clock)
        self._report_crashes = report_crashes
        self._hooks: CrashHooks | None = None
        self._watchdog = systemd.watchdog_seconds()
        self._notified_at = float("-inf")

    def start(self) -> None:
        """Send the first heartbeat."""
        if self._report_crashes:
            self._hooks = CrashHooks(self.crashed)
        systemd.notify(READY=1)
        if _is_worker_process():
            _flush_at_its_end(self)
        self._worker.start()

    def _heard(self, answer: Any) -> None:
        self.reactions.handle(answer)
        self.limit.heard(answer, is_all_known=self.reporter.is_idle)

    # -- reports

    def ping(
        self,
        status: str = "ok",
        message: str | None = None,
        tokens_used: Any = None,
        cost_usd: Any = None,
        tool_calls: Any = None,
        iteration_count: Any = None,
        memory_mb: Any = None,
        custom: Any = None,
    ) -> None:
        if tokens_used or cost_usd:
            self.recorder.spend(tokens_used, cost_usd)
        if tool_calls:
            self.recorder.count_calls(int(number("tool_calls", tool_calls)))
        if iteration_count is not None:
            self.log_iteration(iteration_count)
        if status not in STATUSES:
            warn_once(f"clevagent: status={status!r} is not one of {', '.join(STATUSES)}; using 'warning'")
            status = "warning"
        memory = number("memory_mb", memory_mb) if memory_mb is not None else None
        if status in ("ok", "warning"):
            self._progressed(message)
        words = None if message is None else text_of(message)
        data = None if custom is None else custom_text(custom)
        self.recorder.report(status, message=words, memory_mb=memory, custom_data=data)

    def log_cost(self, tokens: Any = 0, cost_usd: Any = 0, model: str | None = None) -> None:
        self.recorder.spend(tokens, cost_usd)

    def log_usage(
        self,
        *,
        model: str,
        provider: str | None = None,
        cost_usd: float | None = None,
        call_id: str | None = None,
        **counts: Any,
    ) -> None:
        entry: dict[str, Any] = {name: int(number(name, counts.get(name))) for name in COUNTS}
        entry = {name: count for name, count in entry.items() if count}
        entry["model"] = storable(model, MAX_NAME_LENGTH)
        for name, value in (("provider", provider), *((name, counts.get(name)) for name in ("service_tier", "region"))):
            if value:
                entry[name] = storable(value, MAX_NAME_LENGTH)
        if cost_usd is not None:
            entry["cost_usd"] = number("cost_usd", cost_usd)
        self.recorder.add_usage(entry, call_id)

    def log_tool_call(
        self,
        name: str,
        args_summary: str = "",
        *,
        args: Any = UNSET,
        result: Any = UNSET,
        ms: float | None = None,
        ok: bool | None = None,
    ) -> None:
        entry: dict[str, Any] = {"name": storable(name, MAX_NAME_LENGTH)}
        summary = args_summary or (progress.summary_of(args) if args is not UNSET else "")
        if summary and self.options.send_args:
            entry["args"] = text_of(summary)[: MAX_ARGS_LENGTH * 4]
        if args is not UNSET or args_summary:
            entry["args_hash"] = progress.hash_of(args if args is not UNSET else args_summary)
        if result is not UNSET:
            entry["result_hash"] = progress.hash_of(result)
        if ms is not None:
            entry["ms"] = round(number("ms", ms), 3)
        if ok is not None:
            entry["ok"] = bool(ok)
        self.recorder.add_call(entry)
        self._progressed(None)

    def log_iteration(self, count: Any) -> None:
        counter = int(number("iteration_count", count))
        changed = counter != self.recorder.iteration
        self.recorder.iterate(counter)
        if changed:
            self._progressed(None)

    def log_prompt(self, text: str) -> None:
        self.recorder.prompt(hashlib.sha256(text_of(text).encode("utf-8", "surrogatepass")).hexdigest()[:16])

    # -- progress and waiting

    def iteration(self) -> progress.Iteration:
        return progress.Iteration(self.recorder.iterate, self._iterated)

    def _iterated(self, ms: float, error: BaseException | None) -> None:
        self.recorder.iteration_ms = round(ms, 1)
        if error is None:
            self._progressed(None)

    def failed(self, name: str, error: BaseException) -> None:
        """Report an exception from a monitored function, unless the program handles it."""
        if not is_purposeful(error):
            self.recorder.fail(f"{name} failed: {type(error).__name__}: {text_of(error)}")

    def tool(self, name: str, args: Any = None, timeout: float | None = None) -> progress.ToolCall:
        def began(call: progress.ToolCall) -> None:
            self.recorder.begin_tool(id(call), call.name)
            self._progressed(None)
            if timeout is not None:
                self.waiting(f"tool {call.name}", timeout)

        def ended(call: progress.ToolCall) -> None:
            self.recorder.end_tool(id(call))
            result = call.result if call.has_result else UNSET
            args = UNSET if call.args is None else call.args
            self.log_tool_call(call.name, args=args, result=result, ms=call.ms, ok=call.ok)

        return progress.ToolCall(began, ended, name, args)

    def waiting(self, for_: str, until: Any = None) -> progress.Waiting:
        wait = Wait(
            clean(for_, MAX_WAIT_LENGTH).strip() or "something", progress.parse_until(until, datetime.now(timezone.utc))
        )
        self.recorder.wait_for(wait)

        def over() -> None:
            if self.recorder.wait is wait:
                self._progressed(None)

        return progress.Waiting(over)

    def _progressed(self, message: str | None) -> None:
        self.recorder.progressed()
        now = self._clock()
        every = min(STATUS_EVERY, self._watchdog / 4) if self._watchdog else STATUS_EVERY
        if now - self._notified_at >= every and "NOTIFY_SOCKET" in os.environ:
            self._notified_at = now
            # STATUS is for people. WATCHDOG keeps systemd from killing the agent, so only progress may send it, never a
            # timer.
            fields: dict[str, object] = {"STATUS": message} if message else {}
            if fields or self._watchdog:
                systemd.notify(**fields, **({"WATCHDOG": 1} if self._watchdog else {}))

    # -- shutdown

    def crashed(self, error: BaseException, where: str) -> None:
        """Report an uncaught exception. On the main thread it ends the program."""
        if is_purposeful(error):
            return
        self.recorder.failure = None  # the same exception, on its way here
        self.has_crashed = self.has_crashed or not where
        text = f"CRASH: {type(error).__name__}: {text_of(error)}" + (f" ({where})" if where else "")
        trace = traceback_of(type(error), error, error.__traceback__)
        custom = custom_text({"traceback": trace, "crash": True})
        self.recorder.report("error", is_final=not where, message=redacted(without_values(text)), custom_data=custom)

    def flush(self, timeout: float = EXIT_WITHIN) -> bool:
        return self._worker.flush(timeout)

    def close(self) -> None:
        """Send what is left and a `shutdown` heartbeat, within 2 seconds.

        A call that interrupts or follows an unfinished one waits for the rest of the same 2 seconds.
        """
        if self.is_closed:
            return
        if self._close_by is None:
            self._close_by = self._clock() + EXIT_WITHIN
            if self._is_main() and not self.has_crashed:
                self.recorder.report("shutdown", is_final=True)
                systemd.notify(STOPPING=1)
        if not self._worker.end(max(0.0, self._close_by - self._clock())):
            log.warning("the server did not accept everything in time: %s", self.reporter.unsent())
            self._store_rest()
        if self._hooks:
            self._hooks.restore()
        self.is_closed = True

    def _store_rest(self) -> None:
        try:
            self.reporter.store_rest(self._clock(), time.time())
        except Exception:
            log.exception("could not store unsent heartbeats")

    def _stop(self, why: str, force_after: float | None) -> None:
        self.recorder.report("warning", message=f"stopping: {why}")
        stop_program(why, force_after)

    def _wake(self) -> None:
        if self._hooks:
            self._hooks.watch_asyncio()
        self._worker.wake()

    # -- forks

    def _is_main(self) -> bool:
        """Return whether this process represents the agent. A forked child does only once its parent is gone."""
        return self._parent is None or os.getppid() != self._parent

    def reset_after_fork(self) -> None:
        """Reset in a forked child: threads, locks, connections and unsent data belong to the parent."""
        self._parent = self.pid
        self.recorder.reset()
        if isinstance(self._transport, Transport):
            self._transport.detach()
        self.reporter.reset_after_fork()
        self._worker.reset()
        self._watchdog = None
        processes = sys.modules.get("multiprocessing.util")
        if processes is not None:
            # multiprocessing drops finalizers registered before a worker starts, so register ours after its fork.
            processes.register_after_fork(self, _flush_at_its_end)


def _is_worker_process() -> bool:
    processes = sys.modules.get("multiprocessing.process")
    return processes is not None and processes.parent_process() is not None


def _flush_at_its_end(client: Client) -> None:
    """multiprocessing workers exit without running atexit."""
    from multiprocessing.util import Finalize

    Finalize(None, client.flush, exitpriority=100)
