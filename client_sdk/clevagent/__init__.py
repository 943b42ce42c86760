"""Reports an AI agent to a ClevAgent Watchdog server: that it is alive, that it makes progress and what it spends.

    import clevagent

    clevagent.init(api_key="cv_…", agent="research-agent")
    while work := next_work():
        with clevagent.iteration():
            work.do()

Call any function from any thread, at any time: before `init()` and after `shutdown()` it does nothing. No function
raises, prints or waits for the network. Problems go to the logger "clevagent". Only what you ask to stop your agent
raises, a `Stop`: `guard()`, `Budget`, `LoopGuard` and the reaction "raise".
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast, overload

from clevagent import limits as _limits
from clevagent import version as _version
from clevagent.budget import Budget
from clevagent.client import EXIT_WITHIN, UNSET, Client
from clevagent.counters import DETAILS, decimal, number
from clevagent.guard import AgentLimit, Guard
from clevagent.limits import Limit
from clevagent.log import log as _log
from clevagent.log import warn, warn_once
from clevagent.loop_guard import LoopGuard
from clevagent.options import Options, Reaction, read_options
from clevagent.progress import Iteration, Span, ToolCall, Waiting, arguments_of, wrap_calls
from clevagent.reactions import Reason
from clevagent.signals import SignalHandlers
from clevagent.stops import BudgetExceeded, Held, LoopDetected, Stop

__version__ = _version.VERSION
__all__ = [
    "Budget",
    "BudgetExceeded",
    "Held",
    "LoopDetected",
    "LoopGuard",
    "Reason",
    "Stop",
    "flush",
    "guard",
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
# Whether captured calls are reported. Their limits work either way.
_counts_automatically = True
# The client whose shutdown() was interrupted, for example by a signal, before it finished.
_closing: Client | None = None
_signals: SignalHandlers | None = None
# Without a client: whether the last one sent everything. An `init()` that was refused loses what is reported after it.
_has_sent_all = True


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
    spool: str | os.PathLike[str] | bool | None = None,
    stop_grace: float = 10.0,
    handle_signals: bool = False,
    report_crashes: bool = True,
    **unknown: Any,
) -> None:
    """Start reporting this process as an agent. A background thread sends the first heartbeat immediately.

    `api_key`: the project's key; default `CLEVAGENT_API_KEY`.
    `agent`: a name, unique in the project; default `CLEVAGENT_AGENT`, then program@host.
    `endpoint`: the server's address; default `CLEVAGENT_ENDPOINT`, then http://127.0.0.1:8000.
    `interval`: seconds between heartbeats while nothing else is reported, at least 1.

    `auto_cost`: automatically report the tokens of OpenAI, Anthropic, LiteLLM and Google GenAI calls.
    `cost_limit_usd`: daily budget in US dollars.
    `on_loop`, `on_cost_exceeded`: what to do when the server detects a loop or an exceeded budget. "alert_only" logs
    it, "flag" makes `should_stop()` true, "raise" also raises `LoopDetected` or `BudgetExceeded` (or `Held`) instead of
    sending the next captured model call, for `cost_limit_usd` also while the server is away, "stop" interrupts the
    program like Ctrl-C, "force_stop" also kills it after `stop_grace` seconds. A callable is called, with a `Reason` if
    it takes an argument. Happens once per incident.

    `progress_timeout`: seconds without progress until the agent counts as stalled, at least 5; default: learned.
    `labels`: names and values that describe the agent, such as its version.
    `send_args=False`: send only hashes of tool arguments.
    `spool`: a file path; heartbeats are stored next to it until the server accepts them. By default, what could not be
    sent is stored in a private folder of the user, and sent by the next process or the runner. `False`: store nothing.
    `handle_signals`: report a shutdown on SIGTERM and SIGINT, then do what the program would have done.
    `report_crashes`: report uncaught exceptions.

    Unknown keywords and invalid values cause a warning and are ignored. A second call replaces the first client.
    """
    global _counts_automatically, _has_sent_all
    if unknown:
        warn(f"clevagent.init() does not know {', '.join(sorted(unknown))}; ignored.")
    shutdown()
    options = _read(
        api_key=api_key,
        agent=agent,
        endpoint=endpoint,
        interval=interval,
        agent_type=agent_type,
        cost_limit_usd=cost_limit_usd,
        progress_timeout=progress_timeout,
        labels=labels,
        on_loop=on_loop,
        on_cost_exceeded=on_cost_exceeded,
        stop_grace=stop_grace,
        send_args=send_args,
        spool=spool,
    )
    _has_sent_all = options is not None
    if options is not None:
        _counts_automatically = bool(auto_cost)
        if auto_cost:
            _limits.watch_models()
        _start(options, handle_signals=handle_signals, report_crashes=report_crashes)


def _read(**settings: Any) -> Options | None:
    """Never raise into the program, whatever an argument's own methods do."""
    try:
        return read_options(**settings)
    except Exception as error:
        warn(f"clevagent is not reporting: init() could not read its arguments ({type(error).__name__}).")
        return None


def _start(options: Options, *, handle_signals: bool, report_crashes: bool) -> None:
    global _client, _signals
    client = Client(options, report_crashes=report_crashes)
    _limits.apply_everywhere(client.limit)
    # After all imports, because a handler that interrupts an import sees half a module. Before the client becomes
    # reachable, because once a heartbeat may have been sent, the end of the process must be reported too.
    _signals = SignalHandlers(_goodbye, _run_when_safe) if handle_signals else None
    _client = client
    client.start()


def _safe(function: F) -> F:
    """Log our own errors instead of raising them into the agent."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception:
            _log.exception("clevagent.%s failed", function.__name__)
            return None

    return cast("F", call)


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
    """Report progress. `status` is "ok", "warning" or "error"; an error is not progress.

    Tokens, US dollars and tool calls are added to the counts since the last heartbeat; `iteration_count` replaces the
    agent's counter. `custom` is any JSON value.
    """
    if cost_usd:
        _limits.count_cost(decimal("cost_usd", cost_usd))
    if _client is not None:
        _client.ping(status, message, tokens_used, cost_usd, tool_calls, iteration_count, memory_mb, custom)


@_safe
def log_cost(tokens: int = 0, cost_usd: float = 0, model: str | None = None) -> None:
    """Add spent tokens and US dollars. Leave out calls that the SDK captures automatically."""
    _limits.count_cost(decimal("cost_usd", cost_usd))
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
    service_tier: str | None = None,
    region: str | None = None,
    **details: int,
) -> None:
    """Add the tokens of one model call. The server prices them.

    `input_tokens` includes cached tokens, `output_tokens` includes reasoning tokens. `call_id` is the provider's
    response id; a call reported twice with the same id counts once. `service_tier` and `region` are as the provider
    reports them.

    `details` are what providers bill on their own: `cache_write_1h_tokens`, `input_audio_tokens`,
    `output_audio_tokens`, `cache_audio_read_tokens`, `input_image_tokens` and `output_image_tokens`, which are parts of
    the counts above, `web_searches` and `audio_seconds`.
    """
    if _limits.is_captured() and not _counts_automatically:
        return
    counts: dict[str, Any] = {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cache_read_tokens": cache_read_tokens,
        "cache_write_tokens": cache_write_tokens,
        "reasoning_tokens": reasoning_tokens,
        **{name: value for name, value in details.items() if name in DETAILS},
    }
    for name in details.keys() - set(DETAILS):
        warn_once(f"clevagent: log_usage() has no argument {name}; it is not counted")
    whole = {name: int(number(name, value)) for name, value in counts.items()}
    entry = {**whole, "model": model, "provider": provider, "cost_usd": cost_usd}
    _limits.count_usage(entry, None if call_id is None else str(call_id))
    if _client is not None:
        counts |= {"service_tier": service_tier, "region": region}
        _client.log_usage(model=model, provider=provider, cost_usd=cost_usd, call_id=call_id, **counts)


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
    """Report a completed tool call. Counts as progress.

    `args` and `result` are the full values; only their hashes are sent, to recognise repeated calls. `args_summary` is
    the readable text, at most 200 characters, derived from `args` if empty. `ms` is the duration in milliseconds, `ok`
    whether the call succeeded.
    """
    _limits.count_tool(name, args_summary or _limits.UNSET if args is UNSET else args, _known(result))
    if _client is not None:
        _client.log_tool_call(name, args_summary, args=args, result=result, ms=ms, ok=ok)


def _known(value: Any) -> Any:
    return _limits.UNSET if value is UNSET else value


@_safe
def log_iteration(count: int) -> None:
    """Set the agent's iteration counter. A changed value is progress."""
    if _client is not None:
        _client.log_iteration(count)


@_safe
def log_prompt(text: str) -> None:
    """Report a prompt. Only its hash is sent; repeated prompts indicate a loop."""
    if _client is not None:
        _client.log_prompt(text)


def iteration() -> Iteration:
    """One iteration of the agent's loop, as `with` or `async with`. It is timed, and its end is progress."""
    return _client.iteration() if _client is not None else Iteration(lambda: None, lambda ms, error: None)


@overload
def monitor(function: F) -> F: ...
@overload
def monitor(function: str | None = None) -> Callable[[F], F]: ...
def monitor(function: F | str | None = None) -> F | Callable[[F], F]:
    """Count each call of the function as an iteration. An exception is reported and re-raised.

    Use `@clevagent.monitor` or `@clevagent.monitor("nightly")` on plain, async and generator functions.
    """
    if callable(function):
        return _monitored(function, getattr(function, "__qualname__", "the function"))

    def decorate(inner: F) -> F:
        return _monitored(inner, str(function or getattr(inner, "__qualname__", "the function")))

    return decorate


def _monitored(function: F, name: str) -> F:
    return wrap_calls(function, lambda args, kwargs: _Monitored(name), lambda span, result: None)


class _Monitored(Span):
    """Looks up the client on each call, because functions are decorated before `init()` runs."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._turn = iteration()

    def begin(self) -> None:
        self._turn.begin()

    def end(self, error: BaseException | None) -> None:
        self._turn.end(error)
        if error is not None and _client is not None:
            _client.failed(self._name, error)


def _ignore(call: ToolCall) -> None:
    """Without a client, there is no one to report to."""


class _Tool(ToolCall):
    """A tool call that also works as a decorator."""

    def __init__(self, name: str, args: Any, timeout: float | None) -> None:
        self._timeout = timeout
        call = _client.tool(name, args, timeout) if _client is not None else None
        super().__init__(call._began if call else _ignore, call._ended if call else _ignore, name, args)

    def end(self, error: BaseException | None) -> None:
        super().end(error)
        failure = _limits.UNSET if error is None else f"{type(error).__name__}: {error}"
        _limits.count_tool(self.name, self.args, self.result if self.has_result else failure)

    def __call__(self, function: F) -> F:
        def span(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Span:
            return _Tool(self.name, arguments_of(args, kwargs), self._timeout)

        def done(call: Any, result: Any) -> None:
            call.result = result

        return wrap_calls(function, span, done)


def tool(name: str, args: Any = None, timeout: float | None = None) -> _Tool:
    """One tool call: `with clevagent.tool("search", {"query": q}) as call:`, `async with`, or a decorator.

    Start and end are progress, and the call is timed. `args` are the full arguments; set `call.result` to the result.
    Only hashes of both are sent. With `timeout` (seconds), the agent counts as waiting for at most that long.
    """
    return _Tool(name, args, timeout)


def waiting(for_: str, until: Any = None) -> Waiting:
    """Declare that the agent is waiting, not stalled: `with clevagent.waiting("approval", until=…):`, or a plain call.

    `until` is a datetime, a timedelta or seconds from now; by default the server allows one day. A plain call lasts
    until the next progress.
    """
    return _client.waiting(for_, until) if _client is not None else Waiting(lambda: None)


def should_stop() -> bool:
    """Return whether to leave the loop: the agent is on hold, or `on_loop` or `on_cost_exceeded` raised the flag.

    Use it as `while not clevagent.should_stop():`.
    """
    return _client is not None and _client.reactions.should_stop


def guard(*limits: Limit) -> Guard:
    """Raise now if this agent must stop, and from here on before each captured model call.

    Raises BudgetExceeded or LoopDetected if the server, or one of `limits` (a `Budget`, a `LoopGuard`), says so, Held
    if the server holds the agent for another reason, and BudgetExceeded if the `cost_limit_usd` of `init()` is spent,
    also while the server is away. All of them are a `clevagent.Stop`. A server that does not answer stops nothing.

    As a plain call it applies to the whole process until it ends; as `with clevagent.guard():` or `async with`, to the
    block. Needs no `init()` for `limits`.
    """
    _limits.watch_models()
    made = Guard(_limit_of_agent, limits)
    # Called again and again, one is enough.
    if limits or not _limits.applies_everywhere(Guard.is_plain):
        _limits.apply_everywhere(made)
    with _limits.locked():
        made.check()
    return made


def _limit_of_agent() -> AgentLimit | None:
    return None if _client is None else _client.limit


def flush(timeout: float = EXIT_WITHIN) -> bool:
    """Send everything now. Wait up to `timeout` seconds and return whether the server accepted all of it."""
    _count_streams()
    return _client.flush(timeout) if _client is not None else _has_sent_all


def shutdown() -> None:
    """Send what is left, report an intentional stop and end reporting, within 2 seconds."""
    global _client, _signals
    if _client is not None:
        _limits.remove(_client.limit)
    _goodbye()
    _client = None
    # Last, so that a signal during the goodbye still waits for it.
    if _signals is not None:
        _signals.restore()
        _signals = None


def _goodbye() -> None:
    """Close the client, or finish closing it if an earlier attempt was interrupted."""
    global _client, _closing, _has_sent_all
    _count_streams(everything=True)
    _closing, _client = _client or _closing, None
    if _closing is None:
        return
    try:
        _closing.recorder.lock.run_when_free(_closing.close)
        _has_sent_all = _closing.reporter.is_idle
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
    # A signal may have interrupted the import of the module; then it has no `settle` yet.
    settle = getattr(sys.modules.get("clevagent.capture"), "settle", None)
    if _client is not None and settle is not None:
        settle(everything)


def _before_fork() -> None:
    # The child cannot find out its parent's pid: by then the parent may be gone and another process in its place.
    if _client is not None:
        _client.pid = os.getpid()


def _after_fork() -> None:
    global _closing
    _closing = None  # the parent says its own goodbye
    if _client is not None:
        _client.reset_after_fork()


atexit.register(shutdown)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
