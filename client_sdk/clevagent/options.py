"""Settings of `init()`: arguments first, then the environment, then defaults."""

from __future__ import annotations

import math
import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Union

from clevagent.log import warn
from clevagent.names import agent_name
from clevagent.redact import storable, text_of
from clevagent.spool import Place, place_of
from clevagent.transport import exposure, parse_endpoint, parse_key

ENDPOINT = "http://127.0.0.1:8000"
# Seconds. Minimum interval and progress timeout of the public API, and the server's maximum: a year.
MIN_INTERVAL, MIN_PROGRESS_TIMEOUT, MAX_DURATION = 1.0, 5.0, 366 * 86_400.0
# The server's largest daily budget, in US dollars.
MAX_DOLLARS = 1_000_000.0
# Maximum characters of a name on the server.
MAX_NAME_LENGTH = 200
MAX_LABELS, MAX_LABEL_NAME_LENGTH, MAX_TYPE_LENGTH = 20, 50, 50
# Seconds.
DEFAULT_STOP_GRACE = 10.0
NAMED_REACTIONS = ("alert_only", "flag", "raise", "stop", "force_stop")
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
    stop_grace: float = DEFAULT_STOP_GRACE
    send_args: bool = True
    spool: Place | None = None


def read_options(
    *,
    api_key: Any,
    agent: Any,
    endpoint: Any,
    interval: Any,
    cost_limit_usd: Any,
    progress_timeout: Any,
    on_loop: Reaction,
    on_cost_exceeded: Reaction,
    labels: Any,
    agent_type: Any = None,
    stop_grace: Any = None,
    spool: Any,
    **plain: Any,
) -> Options | None:
    """Return the options, with invalid values replaced and warned about, or None if reporting is impossible."""
    key = _key(api_key)
    address = _address(endpoint) if key else None
    if key is None or address is None:
        return None
    return Options(
        api_key=key,
        agent=_agent(agent),
        endpoint=address,
        interval=_seconds("interval", interval, MIN_INTERVAL) or 60.0,
        cost_limit_usd=_dollars(cost_limit_usd),
        progress_timeout=_seconds("progress_timeout", progress_timeout, MIN_PROGRESS_TIMEOUT),
        on_loop=_reaction("on_loop", on_loop),
        on_cost_exceeded=_reaction("on_cost_exceeded", on_cost_exceeded),
        labels=_labels(labels),
        agent_type=storable(agent_type, MAX_TYPE_LENGTH) or None if agent_type else None,
        stop_grace=DEFAULT_STOP_GRACE if (grace := _seconds("stop_grace", stop_grace, 0.0)) is None else grace,
        spool=place_of(spool, key),
        **plain,
    )


def _key(api_key: Any) -> str | None:
    key = api_key or os.environ.get("CLEVAGENT_API_KEY")
    if not key:
        warn("clevagent is not reporting: no API key. Pass api_key=… to init(), or set CLEVAGENT_API_KEY.")
        return None
    try:
        return parse_key(text_of(key))
    except ValueError as error:
        warn(f"clevagent is not reporting: {error}")
        return None


def _address(endpoint: Any) -> str | None:
    address = text_of(endpoint or os.environ.get("CLEVAGENT_ENDPOINT") or ENDPOINT)
    try:
        parsed = parse_endpoint(address).geturl()
    except ValueError as error:
        warn(f"clevagent is not reporting: {error}")
        return None
    if exposed := exposure(parsed):
        warn(f"clevagent: {exposed}")
    return parsed


def _agent(agent: Any) -> str:
    name = agent_name(text_of(agent or os.environ.get("CLEVAGENT_AGENT") or ""))
    if not name:
        name = agent_name(default_agent())
        if agent is not None:
            warn(f"clevagent: agent={agent!r} is empty; reporting as {name}.")
    return name


def _labels(labels: Any) -> dict[str, str]:
    """Label names and values as the server stores them: at most 20."""
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        warn(f"clevagent: labels={labels!r} is not a mapping of names to values; no label is set.")
        return {}
    named = {storable(name, MAX_LABEL_NAME_LENGTH): storable(value, MAX_NAME_LENGTH) for name, value in labels.items()}
    dropped = list(named)[MAX_LABELS:]
    if dropped:
        warn(f"clevagent: at most {MAX_LABELS} labels are sent; left out: {', '.join(dropped)}.")
    return dict(list(named.items())[:MAX_LABELS])


def default_agent() -> str:
    """Return the default name, program@host."""
    program = os.path.splitext(os.path.basename(sys.argv[0] if sys.argv else ""))[0] or "python"  # noqa: PTH119, PTH122
    return f"{program}@{socket.gethostname()}"


def _seconds(name: str, value: Any, smallest: float) -> float | None:
    if value is None:
        return None
    seconds = _finite(value)
    if seconds is None:
        warn(f"clevagent: {name}={value!r} is not a number of seconds; using the default.")
    elif seconds > MAX_DURATION:
        warn(f"clevagent: {name}={value!r} is more than {MAX_DURATION:,.0f} seconds; using that.")
    elif seconds < smallest:
        warn(f"clevagent: {name}={value!r} is less than {smallest:g} seconds; using that.")
    return None if seconds is None else min(max(seconds, smallest), MAX_DURATION)


def _dollars(value: Any) -> float | None:
    if value is None:
        return None
    dollars = _finite(value)
    if dollars is None or not 0 <= dollars <= MAX_DOLLARS:
        wanted = f"an amount from 0 to {MAX_DOLLARS:,.0f} US dollars"
        warn(f"clevagent: cost_limit_usd={value!r} is not {wanted}; no limit is set. For no limit, leave it out.")
        return None
    return dollars


def _finite(value: Any) -> float | None:
    """The number, or None for anything that is not a finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _reaction(name: str, value: Reaction) -> Reaction:
    if callable(value) or value in NAMED_REACTIONS:
        return value
    warn(f"clevagent: {name}={value!r} is not one of {', '.join(NAMED_REACTIONS)} or a callable; using alert_only.")
    return "alert_only"
