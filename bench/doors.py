"""Spans a second through the OTLP door, the latency of hooks, and the memory of a 64 MiB body; each with its goal.

    DATA_DIR=$(mktemp -d) .venv/bin/python bench/doors.py [--batches 40] [--size 512] [--agents 1000] [--hooks 2000]

Sends batches of model-call spans through the real view into a database of its own, in this process: what an exporter
sends with its defaults, 512 spans of a few traces at a time. Then the hooks of many agents, one after the other. Goals
compare CPU time, because the machine may be busy with something else.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import secrets
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SPANS_A_TRACE = 8
# Nanoseconds from one call to the next.
SPAN_EVERY = 1_000_000_000
# Goals: spans per second, milliseconds of the slowest hook in a hundred, MiB beyond the body itself.
MIN_SPANS, MAX_HOOK_MS, MAX_MEMORY = 5_000, 20.0, 256


def main() -> None:
    options = parsed()
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "watchdog_project.settings")
    import django

    django.setup()
    send = sender()
    begun_at = time.time_ns()
    bodies = [batch(options.size, begun_at + number * options.size * SPAN_EVERY) for number in range(options.batches)]
    send(batch(options.size, begun_at - options.size * SPAN_EVERY))
    print(f"{len(bodies[0]) / options.size:.0f} bytes a span")
    begun, cpu = time.perf_counter(), time.process_time()
    for body in bodies:
        send(body)
    took, used = time.perf_counter() - begun, time.process_time() - cpu
    spans = options.size * options.batches
    print(f"{spans / took:,.0f} spans a second; {spans / used:,.0f} a second of CPU time")
    say(f"at least {MIN_SPANS:,} spans a second of CPU time", met=spans / used >= MIN_SPANS)
    measure_hooks(send, options.agents, options.hooks)
    before = peak()
    send(b'{"resourceSpans":[],"padding":"' + b"x" * (64 * 1024 * 1024 - 40) + b'"}', "application/json")
    more = peak() - before
    print(f"{more:,.0f} MiB more at most for a body of 64 MiB")
    say(f"at most {MAX_MEMORY} MiB", met=more <= MAX_MEMORY)


def measure_hooks(send: Any, agents: int, hooks: int) -> None:
    """A tool call of each agent, then the hooks that are measured, of the agents in turn."""
    for number in range(agents):
        send(hook(0), "application/json", f"/hooks/claude-code?agent=bot-{number}")
    walls, cpus = [], []
    for number in range(hooks):
        body = hook(number // 2 + 1, "PostToolUse" if number % 2 else "PreToolUse")
        begun, cpu = time.perf_counter(), time.process_time()
        send(body, "application/json", f"/hooks/claude-code?agent=bot-{number // 2 % agents}")
        walls.append(1000 * (time.perf_counter() - begun))
        cpus.append(1000 * (time.process_time() - cpu))
    wall, cpu = ninety_nine(walls), ninety_nine(cpus)
    print(f"hooks of {agents:,} agents: 99 of 100 within {wall:.1f} ms, {cpu:.1f} ms of CPU time")
    say(f"at most {MAX_HOOK_MS:g} ms of CPU time", met=cpu <= MAX_HOOK_MS)


def hook(number: int, event: str = "PreToolUse") -> bytes:
    told: dict[str, Any] = {
        "hook_event_name": event,
        "session_id": "s",
        "tool_name": "Bash",
        "tool_input": {"command": f"make {number}"},
        "tool_use_id": f"toolu_{number}",
        "tool_response": {"stdout": "ok\n" * 200},
    }
    return json.dumps(told).encode()


def ninety_nine(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def say(goal: str, *, met: bool) -> None:
    print(f"  goal {'met' if met else 'MISSED'}: {goal}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--agents", type=int, default=1_000)
    parser.add_argument("--hooks", type=int, default=2_000)
    return parser.parse_args()


def sender() -> Any:
    """A function that posts a body with the key of a new project."""
    from django.core.management import call_command
    from django.test import Client

    call_command("migrate", verbosity=0)
    made: Any = json.loads(
        _output(
            "create_project",
            "--plan=enterprise",
            "--team=Bench",
            "--project=Doors",
            "--owner=bench@example.com",
            "--json",
        )
    )
    client = Client(headers={"authorization": f"Bearer {made['api_key']}", "host": "localhost"})

    def send(body: bytes, kind: str = "application/x-protobuf", path: str = "/v1/traces") -> None:
        answer = client.generic("POST", path, body, kind)
        if answer.status_code != 200:
            raise SystemExit(f"{answer.status_code}: {answer.content!r}")

    return send


def _output(*command: str) -> str:
    from io import StringIO

    from django.core.management import call_command

    out = StringIO()
    call_command(*command, stdout=out)
    return out.getvalue().strip().splitlines()[-1]


def batch(size: int, begun_at: int) -> bytes:
    """Model calls as an instrumentation of the OpenAI SDK tells them, one after the other from `begun_at` (ns).

    A sender's batches follow one another in time, as the calls do.
    """
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = "bench-bot"
    scope = group.scope_spans.add()
    scope.scope.name = "opentelemetry.instrumentation.genai.openai"
    trace, root = b"", b""
    for number in range(size):
        if number % SPANS_A_TRACE == 0:
            trace, root = secrets.token_bytes(16), secrets.token_bytes(8)
        start = begun_at + number * SPAN_EVERY
        span = scope.spans.add(trace_id=trace, span_id=secrets.token_bytes(8), parent_span_id=root, name="chat gpt-5")
        span.start_time_unix_nano, span.end_time_unix_nano = start, start + SPAN_EVERY // 2
        for key, value in ATTRIBUTES.items():
            told = span.attributes.add(key=key).value
            if isinstance(value, int):
                told.int_value = value
            else:
                told.string_value = value or secrets.token_hex(12)
    return request.SerializeToString()


ATTRIBUTES: dict[str, str | int] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.response.model": "gpt-5-mini-2025-08-07",
    "gen_ai.response.id": "",
    "server.address": "api.openai.com",
    "server.port": 443,
    "gen_ai.usage.input_tokens": 1200,
    "gen_ai.usage.output_tokens": 300,
    "gen_ai.usage.cache_read.input_tokens": 640,
    "gen_ai.usage.reasoning.output_tokens": 80,
    "openai.response.service_tier": "default",
}


def peak() -> float:
    """MiB this process has used at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
