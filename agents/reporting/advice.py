"""What an agent does not report yet, why it is worth reporting, and the lines of code that add it. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

_TOOL = 'with clevagent.tool("search", {"query": query}) as call:\n    call.result = search(query)'
_USAGE = 'clevagent.log_usage(model="MODEL", provider="PROVIDER", input_tokens=1200, output_tokens=80)'
_PRICED = 'clevagent.log_usage(model="MODEL", provider="PROVIDER", input_tokens=1200, output_tokens=80, cost_usd=0.01)'


class Advice(NamedTuple):
    """One improvement. `key` identifies it on the page."""

    key: str
    title: str
    why: str
    lines: str


@dataclass(frozen=True, slots=True)
class Reports:
    """What an agent has reported so far. `tokens_without_price`: some of its tokens have no known price."""

    name: str
    server: str
    client: bool
    progress: bool
    calls: bool
    usage: bool
    tokens_without_price: bool
    runner: bool
    target: str = ""


def advice(reports: Reports) -> list[Advice]:
    """Most useful first; empty when there is nothing left to report."""
    return [*_work(reports), *_spend(reports), *_process(reports)]


def _work(reports: Reports) -> Iterator[Advice]:
    if not reports.client:
        why = "It sends heartbeats automatically and reports when the process crashes."
        yield Advice("client", "Use the client", why, _init(reports))
    if not reports.progress:
        why = "Without progress, a hung agent looks busy: only a missing heartbeat would be noticed."
        lines = "with clevagent.iteration():\n    one_turn()"
        yield Advice("progress", "Report progress", why, lines)
    if not reports.calls:
        why = "Loops are then detected from the calls, and this page shows what the agent is doing."
        yield Advice("calls", "Report tool calls", why, _TOOL)


def _spend(reports: Reports) -> Iterator[Advice]:
    if not reports.usage:
        why = (
            "Budgets only work with token or cost data. "
            "OpenAI, Anthropic, LiteLLM and Google GenAI are counted automatically; for other libraries:"
        )
        yield Advice("usage", "Report token usage", why, _USAGE)
    elif reports.tokens_without_price:
        why = "Some tokens have no known price, so their cost is not counted. Name the model, or report the cost:"
        yield Advice("price", "Name the model", why, _PRICED)


def _process(reports: Reports) -> Iterator[Advice]:
    if not reports.runner:
        why = (
            "You can then restart and stop the agent from here, and the watchdog can tell a dead process from a silent "
            "one. "
            "Name what the agent runs under: systemd:, docker:, launchd:, process: or k8s:."
        )
        yield Advice("runner", "Add a runner", why, _runner(reports))


def _init(reports: Reports) -> str:
    name = json.dumps(reports.name, ensure_ascii=False)
    return f'import clevagent\nclevagent.init(api_key="YOUR_KEY", agent={name}, endpoint="{reports.server}")'


def _runner(reports: Reports) -> str:
    unit = re.sub(r"[^A-Za-z0-9_.-]+", "-", reports.name)
    target = reports.target or f"systemd:{unit}.service"
    watch = f"--watch {shlex.quote(f'{target}={reports.name}')}"
    return f"clevagent-runner start {watch} --api-key YOUR_KEY --endpoint {reports.server}"
