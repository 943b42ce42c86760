"""What an agent does not report yet, what that would be good for, and the lines that change it. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Advice(NamedTuple):
    """`key` tells one from another on a page."""

    key: str
    title: str
    why: str
    lines: str


@dataclass(frozen=True, slots=True)
class Reports:
    """What came from an agent so far. `tokens_without_price` says that some have no known price."""

    name: str
    server: str
    client: bool
    progress: bool
    calls: bool
    usage: bool
    tokens_without_price: bool
    runner: bool


def advice(found: Reports) -> list[Advice]:
    """The most useful first; empty when there is nothing left to report."""
    return list(_advice(found))


def _advice(found: Reports) -> Iterator[Advice]:
    if not found.client:
        yield Advice(
            "client",
            "Use the client",
            "It sends heartbeats by itself, and says when the process crashes.",
            _init(found),
        )
    if not found.progress:
        why = "Without progress a hang looks like work: only silence would be noticed."
        yield Advice("progress", "Say what is a turn of its loop", why, "with clevagent.iteration():\n    one_turn()")
    if not found.calls:
        why = "Then a loop is told by what is called, and this page says what it is doing now."
        yield Advice("calls", "Name its tool calls", why, _TOOL)
    if not found.usage:
        why = "Then its budget can hold. OpenAI, Anthropic, LiteLLM and Google GenAI count themselves; for others:"
        yield Advice("usage", "Tell its tokens", why, _USAGE)
    elif found.tokens_without_price:
        why = "Some of its tokens have no known price, so their money is not counted. Name the model, or what it cost:"
        yield Advice("price", "Name the model", why, _PRICED)
    if not found.runner:
        why = (
            "Then it can be restarted and stopped from here, and a dead process is told from a silent one. "
            "Name what it runs under: systemd:, docker:, launchd:, process: or k8s:."
        )
        yield Advice("runner", "Watch its process with a runner", why, _runner(found))


_TOOL = 'with clevagent.tool("search", {"query": query}) as call:\n    call.result = search(query)'
_USAGE = 'clevagent.log_usage(model="MODEL", provider="PROVIDER", input_tokens=1200, output_tokens=80)'
_PRICED = 'clevagent.log_usage(model="MODEL", provider="PROVIDER", input_tokens=1200, output_tokens=80, cost_usd=0.01)'


def _init(found: Reports) -> str:
    name = json.dumps(found.name, ensure_ascii=False)
    return f'import clevagent\nclevagent.init(api_key="YOUR_KEY", agent={name}, endpoint="{found.server}")'


def _runner(found: Reports) -> str:
    unit = re.sub(r"[^A-Za-z0-9_.-]+", "-", found.name)
    watch = f"--watch {shlex.quote(f'systemd:{unit}.service={found.name}')}"
    return f"clevagent-runner start {watch} --api-key YOUR_KEY --endpoint {found.server}"
