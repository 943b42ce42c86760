"""Settings of `init()`: arguments first, then the environment, then defaults."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Union

from clevagent.log import log
from clevagent.redact import clean
from clevagent.transport import parse_endpoint

ENDPOINT = "http://127.0.0.1:8000"
# Seconds. Minimum interval and progress timeout of the public API, and the server's maximum: one week.
MIN_INTERVAL, MIN_PROGRESS_TIMEOUT, MAX_DURATION = 1.0, 5.0, 7 * 86_400.0
# Maximum characters of a name on the server.
MAX_NAME_LENGTH = 200
NAMED_REACTIONS = ("alert_only", "flag", "stop", "force_stop")
Reaction = Union[str, Callable[..., Any]]


class Options(NamedTuple):
    """Durations are in seconds. See `clevagent.init` for the meaning of each option."""

    api_key: str
    agent: str
    endpoint: str = ENDPOINT
    interval: float = 60.0
    agent_type: str | None = None
    cost_limit_usd: float | None = None
    progress_timeout: float | None = None
    labels: Mapping[str, str] | None = None
    on_loop: Reaction = "alert_only"
    on_cost_exceeded: Reaction = "alert_only"
    stop_grace: float = 10.0
    send_args: bool = True
    spool: str | os.PathLike[str] | None = None


def read_options(
    *,
    api_key: str | None,
    agent: str | None,
    endpoint: str | None,
    interval: Any,
    cost_limit_usd: Any,
    progress_timeout: Any,
    on_loop: Reaction,
    on_cost_exceeded: Reaction,
    labels: Mapping[str, Any] | None,
    spool: str | os.PathLike[str] | None,
    **plain: Any,
) -> Options | None:
    """Return the options, with invalid values replaced and warned about, or None if reporting is impossible."""
    key = _key(api_key)
    address = _address(endpoint) if key else None
    if key is None or address is None:
        return None
    return Options(
        api_key=key,
        agent=clean(agent or os.environ.get("CLEVAGENT_AGENT") or default_agent(), MAX_NAME_LENGTH),
        endpoint=address,
        interval=_seconds("interval", interval, MIN_INTERVAL) or 60.0,
        cost_limit_usd=_dollars(cost_limit_usd),
        progress_timeout=_seconds("progress_timeout", progress_timeout, MIN_PROGRESS_TIMEOUT),
        on_loop=_reaction("on_loop", on_loop),
        on_cost_exceeded=_reaction("on_cost_exceeded", on_cost_exceeded),
        labels={clean(name, 50): clean(value, MAX_NAME_LENGTH) for name, value in (labels or {}).items()},
        spool=spool or os.environ.get("CLEVAGENT_SPOOL") or None,
        **plain,
    )


def _key(api_key: str | None) -> str | None:
    key = api_key or os.environ.get("CLEVAGENT_API_KEY")
    if not key:
        warn("clevagent is not reporting: no API key. Pass api_key=… to init(), or set CLEVAGENT_API_KEY.")
        return None
    return key


def _address(endpoint: str | None) -> str | None:
    address = endpoint or os.environ.get("CLEVAGENT_ENDPOINT") or ENDPOINT
    try:
        parse_endpoint(address)
    except ValueError as error:
        warn(f"clevagent is not reporting: {error}")
        return None
    return address


def default_agent() -> str:
    """Return the default name, program@host."""
    program = os.path.splitext(os.path.basename(sys.argv[0] if sys.argv else ""))[0] or "python"  # noqa: PTH119, PTH122
    return f"{program}@{socket.gethostname()}"


def warn(message: str) -> None:
    """Warn the programmer. Never raises, even where warnings are errors."""
    log.warning(message)
    with contextlib.suppress(Warning):
        warnings.warn(message, RuntimeWarning, stacklevel=_caller_level())


def _caller_level() -> int:
    """Return the stack level of the program's own line, seen from the function that called this one."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "clevagent":
        level, frame = level + 1, frame.f_back
    return level


def _seconds(name: str, value: Any, smallest: float) -> float | None:
    if value is None:
        return None
    try:
        return min(max(float(value), smallest), MAX_DURATION)
    except (TypeError, ValueError):
        warn(f"clevagent: {name}={value!r} is not a number of seconds; using the default.")
        return None


def _dollars(value: Any) -> float | None:
    try:
        return None if value is None else max(0.0, float(value))
    except (TypeError, ValueError):
        warn(f"clevagent: cost_limit_usd={value!r} is not an amount in US dollars; no limit is set.")
        return None


def _reaction(name: str, value: Reaction) -> Reaction:
    if callable(value) or value in NAMED_REACTIONS:
        return value
    warn(f"clevagent: {name}={value!r} is not one of {', '.join(NAMED_REACTIONS)} or a callable; using alert_only.")
    return "alert_only"
