"""Tells a ClevAgent Watchdog server what an AI agent does: that it is alive, that it moves, what it spends.

    import clevagent

    clevagent.init(api_key="cv_…", agent="research-agent")
    while work := next_work():
        with clevagent.iteration():
            work.do()

Every function may be called from any thread, before `init()` and after `shutdown()`, where it does nothing. None of
them raises, prints, or waits for a network; what goes wrong is logged to the logger "clevagent".
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

from clevagent import version as _version
from clevagent.client import EXIT_WITHIN, UNSET, Client
from clevagent.log import log as _log
from clevagent.options import Reaction, read, warn
from clevagent.progress import Iteration, Span, ToolCall, Waiting, arguments_of, around
from clevagent.signals import SignalHandlers
from clevagent.verdict import Reason

__version__ = _version.VERSION
__all__ = [
    "Reason",
    "flush",
    "init",
    "iteration",
    "log_cost",
    "log_iteration",
    "log_prompt",
    "log_tool_call",
    "log_usage",
    "monitor",
    "ping",
    "should_stop",
    "shutdown",
    "tool",
    "waiting",
]

F = TypeVar("F", bound=Callable[..., Any])
_client: Client | None = None
# A client whose shutdown() has begun but not finished: a signal may interrupt it.
_closing: Client | None = None
_signals: SignalHandlers | None = None


def init(
    api_key: str | None = None,
    agent: str | None = None,
    interval: float = 60,
    endpoint: str | None = None,
    auto_cost: bool = True,
    on_loop: Reaction = "alert_only",
    on_cost_exceeded: Reaction = "alert_only",
    agent_type: str | None = None,
    cost_limit_usd: float | None = None,
    *,
    progress_timeout: float | None = None,
    labels: Mapping[str, Any] | None = None,
    send_args: bool = True,
    spool: str | os.PathLike[str] | None = None,
    stop_grace: float = 10.0,
    handle_signals: bool = False,
    report_crashes: bool = True,
    **unknown: Any,
) -> None:
    """Begin to report this process as an agent. The first heartbeat goes out at once, from a thread of its own.

    `api_key`: the project's key, else `CLEVAGENT_API_KEY`. `agent`: its name, unique in the project, else
    `CLEVAGENT_AGENT`, else the program's name and host. `endpoint`: the server's address, else `CLEVAGENT_ENDPOINT`,
    else http://127.0.0.1:8000. `interval`: seconds between heartbeats of an agent that says nothing, from 1 up.
    `auto_cost`: report the tokens of OpenAI, Anthropic, LiteLLM and Google GenAI calls by itself.
    `on_loop`, `on_cost_exceeded`: what to do when the server finds a loop or a spent budget: "alert_only" logs it,
    "flag" makes `should_stop()` true, "stop" ends the program as Ctrl-C does, "force_stop" too and hard after
    `stop_grace` seconds; a callable is called, with a `Reason` if it takes an argument. Each once per incident.
    `cost_limit_usd`: budget of a day in US dollars. `progress_timeout`: seconds without progress until it counts as
    stalled, from 5 up; learned when not given. `labels`: names and values that tell agents apart on the server.
    `send_args=False`: of tool arguments only hashes leave the machine. `spool`: a file's path; what the server has
    not accepted is kept beside it and sent after a restart. `handle_signals`: say goodbye on SIGTERM and SIGINT, then
    do what the program would have done. `report_crashes`: report exceptions that nobody caught.

    Unknown keywords and values are warned about and ignored. A second call ends the first one's reporting.
    """
    global _client, _signals
    if unknown:
        warn(f"clevagent.init() does not know {', '.join(sorted(unknown))}; ignored.")
    shutdown()
    options = read(
        api_key=api_key,
        agent=agent,
        endpoint=endpoint,
        interval=interval,
        agent_type=str(agent_type) if agent_type else None,
        cost_limit_usd=cost_limit_usd,
        progress_timeout=progress_timeout,
        labels=labels,
        on_loop=on_loop,
        on_cost_exceeded=on_cost_exceeded,
        stop_grace=stop_grace,
        send_args=send_args,
        spool=spool,
    )
    if options is None:
        return
    if auto_cost:
        _watch_models()
    client = Client(options, report_crashes=report_crashes)
    # After the imports above, because a handler that interrupts an import sees half a module. Before the client can be
    # reached, because once a heartbeat may have been sent, every end of the process must be reported as well.
    _signals = SignalHandlers(_goodbye, _run_when_safe) if handle_signals else None
    _client = client
    client.start()


def _watch_models() -> None:
    try:
        from clevagent import capture

        capture.install()
    except Exception:
        _log.exception("model calls are not reported by themselves")


def _safe(function: F) -> F:
    """Our mistakes are ours: they are logged and never reach the agent."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception:
            _log.exception("clevagent.%s failed", function.__name__)
            return None

    return call  # type: ignore[return-value]


@_safe
def ping(
    status: str = "ok",
    message: str | None = None,
    tokens_used: int | None = None,
    cost_usd: float | None = None,
    tool_calls: int | None = None,
    iteration_count: int | None = None,
    memory_mb: float | None = None,
    custom: Mapping[str, Any] | str | None = None,
) -> None:
    """Report progress. `status` is ok, warning or error (an error is no progress).

    Tokens, US dollars and tool calls are added to those counted since the last heartbeat; `iteration_count` replaces
    the agent's counter. `custom` is anything JSON can say.
    """
    if _client is not None:
        _client.ping(status, message, tokens_used, cost_usd, tool_calls, iteration_count, memory_mb, custom)


@_safe
def log_cost(tokens: int = 0, cost_usd: float = 0, model: str | None = None) -> None:
    """Add tokens and US dollars that were spent. What is captured by itself need not be reported here."""
    if _client is not None:
        _client.log_cost(tokens, cost_usd, model)


@_safe
def log_usage(
    *,
    model: str,
    provider: str | None = None,
    input_tokens: int = 0,
    output_tokens: int = 0,
    cache_read_tokens: int = 0,
    cache_write_tokens: int = 0,
    reasoning_tokens: int = 0,
    cost_usd: float | None = None,
    call_id: str | None = None,
) -> None:
    """Add the tokens of one model call; the server prices them.

    `input_tokens` holds the cached ones, too, and `output_tokens` the reasoning. `call_id` is the provider's id of the
    response: one that was reported before is the same call and is not counted again.
    """
    if _client is not None:
        _client.log_usage(
            model=model,
            provider=provider,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cache_read_tokens=cache_read_tokens,
            cache_write_tokens=cache_write_tokens,
            reasoning_tokens=reasoning_tokens,
            cost_usd=cost_usd,
            call_id=call_id,
        )


@_safe
def log_tool_call(
    name: str,
    args_summary: str = "",
    *,
    args: Any = UNSET,
    result: Any = UNSET,
    ms: float | None = None,
    ok: bool | None = None,
) -> None:
    """Report a tool call that is over; it is progress.

    `args` and `result` are the whole values: hashes of them are sent, so that equal calls can be told from new ones.
    `args_summary` is what a person reads, made of `args` when it is not given and cut at 200 characters. `ms` is the
    duration in milliseconds, `ok` whether it succeeded.
    """
    if _client is not None:
        _client.log_tool_call(name, args_summary, args=args, result=result, ms=ms, ok=ok)


@_safe
def log_iteration(count: int) -> None:
    """Set the agent's own counter. A changed one is progress."""
    if _client is not None:
        _client.log_iteration(count)


@_safe
def log_prompt(text: str) -> None:
    """Report that a prompt was sent. Only its hash leaves the machine; repeated ones are a sign of a loop."""
    if _client is not None:
        _client.log_prompt(text)


def iteration() -> Iteration:
    """One turn of the agent's loop: `with clevagent.iteration():` or `async with`. Timed; its end is progress."""
    return _client.iteration() if _client is not None else Iteration(lambda: None, lambda ms, error: None)


@overload
def monitor(function: F) -> F: ...
@overload
def monitor(function: str | None = None) -> Callable[[F], F]: ...
def monitor(function: F | str | None = None) -> F | Callable[[F], F]:
    """Each call of the function is an iteration; an error that leaves it is reported and goes on its way.

    `@clevagent.monitor` or `@clevagent.monitor("nightly")`, on plain, async and generator functions.
    """
    if callable(function):
        return _monitored(function, getattr(function, "__qualname__", "the function"))

    def decorate(inner: F) -> F:
        return _monitored(inner, str(function or getattr(inner, "__qualname__", "the function")))

    return decorate


def _monitored(function: F, name: str) -> F:
    return around(function, lambda args, kwargs: _Monitored(name), lambda span, result: None)


class _Monitored(Span):
    """The client is looked up at each call: functions are decorated before `init()`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._turn = iteration()

    def begin(self) -> None:
        self._turn.begin()

    def end(self, error: BaseException | None) -> None:
        self._turn.end(error)
        if error is not None and _client is not None:
            _client.failed(self._name, error)


class _Tool(ToolCall):
    """A tool call that can also be a decorator."""

    def __init__(self, name: str, args: Any, timeout: float | None) -> None:
        self._timeout = timeout
        call = _client.tool(name, args, timeout) if _client is not None else None
        nothing: Callable[[ToolCall], None] = lambda call: None  # noqa: E731
        super().__init__(call._began if call else nothing, call._ended if call else nothing, name, args)

    def __call__(self, function: F) -> F:
        def span(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Span:
            return _Tool(self.name, arguments_of(args, kwargs), self._timeout)

        def done(call: Any, result: Any) -> None:
            call.result = result

        return around(function, span, done)


def tool(name: str, args: Any = None, timeout: float | None = None) -> _Tool:
    """One tool call: `with clevagent.tool("search", {"query": q}) as call:`, `async with`, or a decorator.

    Its begin and its end are progress, and it is timed. `args` are the whole arguments; set `call.result` to the
    result: hashes of both are sent. With `timeout`, in seconds, the agent counts as waiting for that long at most.
    """
    return _Tool(name, args, timeout)


def waiting(for_: str, until: Any = None) -> Waiting:
    """Declare that the agent waits and is not stuck: `with clevagent.waiting("approval", until=…):`, or a plain call.

    `until` is a datetime, a timedelta, or seconds from now; without it the server allows a day. A plain call holds
    until the next progress.
    """
    return _client.waiting(for_, until) if _client is not None else Waiting(lambda: None)


def should_stop() -> bool:
    """Whether the agent should end its loop: the server holds it, or found what `on_loop` or `on_cost_exceeded` flags.

    For polite loops: `while not clevagent.should_stop():`.
    """
    return _client is not None and _client.verdicts.should_stop


def flush(timeout: float = EXIT_WITHIN) -> bool:
    """Report everything now. Waits up to `timeout` seconds; answers whether the server accepted all of it."""
    _count_streams()
    return _client.flush(timeout) if _client is not None else True


def shutdown() -> None:
    """Send what is left, report an intentional stop and end reporting, within 2 seconds."""
    global _client, _signals
    _goodbye()
    _client = None
    # Last, so that a signal during the goodbye still waits for it.
    if _signals is not None:
        _signals.restore()
        _signals = None


def _goodbye() -> None:
    """Close the client, or finish closing it if an earlier attempt was interrupted."""
    global _client, _closing
    _count_streams(everything=True)
    _closing, _client = _client or _closing, None
    if _closing is None:
        return
    try:
        _closing.recorder.lock.run_when_free(_closing.close)
    except Exception:
        _log.exception("could not report the shutdown")
    _closing = None


def _run_when_safe(work: Callable[[], None]) -> None:
    """Run a signal handler's work once the code it interrupted is done recording."""
    client = _client or _closing
    if client is None:
        work()
    else:
        client.recorder.lock.run_when_free(work)


def _count_streams(everything: bool = False) -> None:
    """Count model calls whose streams were left before their end."""
    # A signal may interrupt the import of the module: then it has no `settle` yet.
    settle = getattr(sys.modules.get("clevagent.capture"), "settle", None)
    if _client is not None and settle is not None:
        settle(everything)


def _before_fork() -> None:
    # Asked for in the child, its parent's id would be another one if the parent has ended by then.
    if _client is not None:
        _client.pid = os.getpid()


def _after_fork() -> None:
    global _closing
    _closing = None  # the parent says its own goodbye
    if _client is not None:
        _client.begin_anew()


atexit.register(shutdown)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
