"""The captured bodies of real senders, and their true totals as the README of the captures has them."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from agents.doors.otlp import otlp_json, protobuf
from agents.doors.otlp.telemetry import Export

FIXTURES: Final = Path(__file__).resolve().parents[2] / "fixtures"


class Truth(NamedTuple):
    """Tokens, tool calls and failed tool calls, the reported USD if any, and the agents they belong to."""

    input: int
    output: int
    cache_read: int = 0
    tools: int = 0
    failed: int = 0
    usd: float | None = None
    agents: tuple[str, ...] = ()


TRUTHS: Final[dict[str, Truth]] = {
    "otlp/genai_openai.traces.bin": Truth(570, 132, 320, agents=("invoice-bot",)),
    "otlp/openai_v2.traces.bin": Truth(360, 90, agents=("invoice-bot",)),
    "otlp/openllmetry_openai.traces.bin": Truth(570, 132, 320, agents=("invoice-bot",)),
    "otlp/openllmetry_openai_old.traces.bin": Truth(240, 60, 128, agents=("invoice-bot",)),
    "otlp/openinference_openai.traces.bin": Truth(360, 90, 192, agents=("invoice-bot",)),
    "otlp/genai_anthropic.traces.bin": Truth(6375, 51, 6000, agents=("invoice-bot",)),
    "otlp/openllmetry_anthropic.traces.bin": Truth(6375, 51, 6000, agents=("invoice-bot",)),
    "otlp/pydantic_ai.traces.bin": Truth(240, 60, 128, tools=1, usd=0.000152, agents=("weather_bot",)),
    "otlp/pydantic_ai.metrics.bin": Truth(240, 60, usd=0.000151, agents=("demo-pydantic-ai",)),
    "otlp/openinference_langgraph.traces.bin": Truth(240, 60, 128, tools=1, agents=("demo-langgraph-oi",)),
    "otlp/claude_code.logs.bin": Truth(4250, 34, 4000, tools=1, usd=0.00261, agents=("nightly-fixer",)),
    "otlp/claude_code.metrics.bin": Truth(4250, 34, 4000, usd=0.00261, agents=("nightly-fixer",)),
    "otlp/claude_code_httpjson.traces.json": Truth(4250, 34, 4000, tools=1, agents=("nightly-fixer",)),
    "otlp/codex_cli.logs.bin": Truth(420, 84, 256, tools=1, agents=("nightly-fixer",)),
    "otlp/gemini_cli_httpjson.logs.json": Truth(600, 50, 200, tools=1, agents=("nightly-fixer",)),
    "doors/claude_code_2_1_332_httpjson.traces.json": Truth(
        6375, 51, 6000, tools=2, failed=1, agents=("nightly-fixer",)
    ),
    "doors/claude_code_hooks_httpjson.logs.json": Truth(
        8500, 68, 8000, tools=2, failed=1, usd=0.00522, agents=("nightly-fixer",)
    ),
    "doors/claude_code_hooks_httpjson.metrics.json": Truth(8500, 68, 8000, usd=0.00522, agents=("nightly-fixer",)),
    "doors/codex_cli_0_171_httpjson.logs.json": Truth(630, 126, 384, tools=1, agents=("codex_exec",)),
    "doors/vercel_ai_7_httpjson.traces.json": Truth(450, 102, 256, tools=1, agents=("nightly-fixer",)),
    "doors/mastra_httpjson.traces.json": Truth(240, 60, 128, tools=1, agents=("nightly-fixer",)),
    "doors/langfuse_5_otel.traces.bin": Truth(240, 60, 128, tools=1, agents=("nightly-fixer",)),
    "doors/opencode_ai_spans_cut.traces.json": Truth(480, 120, 256, tools=2, failed=1, agents=("nightly-fixer",)),
}
PARTS: Final = (
    "otlp/openinference_openai_agents.part1.traces.bin",
    "otlp/openinference_openai_agents.part2.traces.bin",
)
PARTS_TRUTH: Final = Truth(420, 84, 256, tools=1, agents=("weather_bot",))
# Told by several signals of one run.
SAME_RUN: Final[dict[tuple[str, ...], Truth]] = {
    ("otlp/claude_code.logs.bin", "otlp/claude_code.metrics.bin"): TRUTHS["otlp/claude_code.logs.bin"],
    ("otlp/pydantic_ai.traces.bin", "otlp/pydantic_ai.metrics.bin"): TRUTHS["otlp/pydantic_ai.traces.bin"],
    (
        "doors/claude_code_hooks_httpjson.logs.json",
        "doors/claude_code_hooks_httpjson.metrics.json",
    ): TRUTHS["doors/claude_code_hooks_httpjson.logs.json"],
    PARTS: PARTS_TRUTH,
}


def raw(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def signal_of(name: str) -> str:
    return next(signal for signal in ("traces", "metrics", "logs") if f".{signal}." in name)


def content_type(name: str) -> str:
    return "application/x-protobuf" if name.endswith(".bin") else "application/json"


def decoded(name: str) -> Export:
    module = protobuf if name.endswith(".bin") else otlp_json
    export: Export = getattr(module, signal_of(name))(raw(name))
    return export
