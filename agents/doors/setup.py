"""What to paste into each program without our SDK, complete except for a key that is not known. Pure.

`docs/doors.md` shows the same blocks.
"""

from __future__ import annotations

import json
import shlex
from typing import Any, Final, NamedTuple
from urllib.parse import quote

# Seconds that a hook waits for us at most.
TIMEOUT: Final = 5
CLAUDE_EVENTS: Final = (
    "UserPromptSubmit",
    "PreToolUse",
    "PostToolUse",
    "PostToolUseFailure",
    "PermissionRequest",
    "Notification",
    "Stop",
    "StopFailure",
    "SessionEnd",
)
CODEX_EVENTS: Final = ("UserPromptSubmit", "PreToolUse", "PostToolUse", "PermissionRequest", "Stop")
GEMINI_EVENTS: Final = (
    "SessionStart",
    "BeforeAgent",
    "BeforeTool",
    "AfterTool",
    "AfterAgent",
    "Notification",
    "SessionEnd",
)


class Setup(NamedTuple):
    """One program: `where` the text goes, and what to know."""

    key: str
    title: str
    where: str
    text: str
    hint: str


def setups(key: str, server: str, agent: str) -> list[Setup]:
    """All programs, those that most people run first."""
    return [
        _claude_code(key, server, agent),
        _codex(key, server, agent),
        _gemini(key, server, agent),
        _opencode(key, server, agent),
        _opentelemetry(key, server, agent),
        _langfuse(key, server),
        _litellm(key, server),
        _openclaw(key, server),
    ]


def _claude_code(key: str, server: str, agent: str) -> Setup:
    hook = {
        "type": "http",
        "url": _hook_url(server, "claude-code", agent),
        "timeout": TIMEOUT,
        "headers": {"Authorization": "Bearer $AGENT_KEY"},
        "allowedEnvVars": ["AGENT_KEY"],
    }
    settings = {
        "env": {
            "AGENT_KEY": key,
            "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": server,
            "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer {key}",
            "OTEL_RESOURCE_ATTRIBUTES": f"agent.name={_attribute(agent)}",
        },
        "hooks": {name: [{"hooks": [hook]}] for name in CLAUDE_EVENTS},
    }
    hint = "Telemetry reports tokens and cost; hooks report each step at once and stop an agent on hold."
    return Setup("claude-code", "Claude Code", "~/.claude/settings.json", _settings(settings), hint)


def _settings(settings: dict[str, Any]) -> str:
    """JSON with one line per variable and per hook."""
    parts = []
    for name, values in settings.items():
        lines = ",\n".join(f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())
        parts.append(f"  {json.dumps(name)}: {{\n{lines}\n  }}")
    return "{\n" + ",\n".join(parts) + "\n}"


def _codex(key: str, server: str, agent: str) -> Setup:
    headers = f'{{ "Authorization" = "Bearer {key}" }}'
    exporter = f'{{ otlp-http = {{ endpoint = "{server}/v1/logs", protocol = "binary", headers = {headers} }} }}'
    hooks = [
        f'[[hooks.{name}]]\n[[hooks.{name}.hooks]]\ntype = "command"\n'
        f'command = "{_curl(key, server, "codex", agent)}"\ntimeout = {TIMEOUT + 1}'
        for name in CODEX_EVENTS
    ]
    text = "\n\n".join([f"[otel]\nexporter = {exporter}", *hooks])
    hint = (
        f"Start it with OTEL_RESOURCE_ATTRIBUTES=agent.name={_attribute(agent)}. "
        "Codex skips hooks until you have trusted them once in its interactive mode."
    )
    return Setup("codex", "Codex", "~/.codex/config.toml", text, hint)


def _gemini(key: str, server: str, agent: str) -> Setup:
    hook = {"type": "command", "command": _curl(key, server, "gemini", agent), "timeout": 1000 * (TIMEOUT + 1)}
    settings = {
        "telemetry": {
            "enabled": True,
            "target": "local",
            "otlpProtocol": "http",
            "otlpEndpoint": server,
            "logPrompts": False,
        },
        "hooks": {name: [{"hooks": [hook]}] for name in GEMINI_EVENTS},
    }
    hint = (
        f'Start it with OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer%20{key}" and '
        f"OTEL_RESOURCE_ATTRIBUTES=agent.name={_attribute(agent)}."
    )
    return Setup("gemini-cli", "Gemini CLI", "~/.gemini/settings.json", _settings(settings), hint)


def _opencode(key: str, server: str, agent: str) -> Setup:
    text = (
        f"curl --create-dirs -o ~/.config/opencode/plugins/clevagent.js {server}/opencode/clevagent.js\n"
        f"export CLEVAGENT_API_KEY={key}\nexport CLEVAGENT_AGENT={shlex.quote(agent)}"
    )
    return Setup(
        "opencode", "opencode", "a shell", text, "The plugin sends no prompts. opencode loads it when it starts."
    )


def _opentelemetry(key: str, server: str, agent: str) -> Setup:
    text = (
        f"export OTEL_EXPORTER_OTLP_ENDPOINT={server}\nexport OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\n"
        f'export OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer%20{key}"\n'
        f'export OTEL_RESOURCE_ATTRIBUTES="agent.name={_attribute(agent)}"'
    )
    hint = (
        "For OpenLLMetry, OpenInference, pydantic-ai, logfire, Mastra, the Vercel AI SDK and every OpenTelemetry SDK."
    )
    return Setup("opentelemetry", "OpenTelemetry", "a shell", text, hint)


def _langfuse(key: str, server: str) -> Setup:
    text = f"export LANGFUSE_HOST={server}\nexport LANGFUSE_PUBLIC_KEY=pk-lf-any\nexport LANGFUSE_SECRET_KEY={key}"
    return Setup("langfuse", "LangFuse", "a shell", text, "Your program stays as it is. The secret key is our key.")


def _litellm(key: str, server: str) -> Setup:
    text = f"""litellm_settings:
  callbacks: ["generic_api"]
guardrails:
  - guardrail_name: watchdog
    litellm_params:
      guardrail: generic_guardrail_api
      mode: pre_call
      api_base: {server}
      api_key: {key}
      default_on: true
      unreachable_fallback: fail_open
environment_variables:
  GENERIC_LOGGER_ENDPOINT: {server}/hooks/litellm
  GENERIC_LOGGER_HEADERS: "Authorization=Bearer {key}\""""
    hint = "Keep fail_open: without it, LiteLLM refuses every call while this server is away."
    return Setup("litellm", "LiteLLM", "config.yaml of the proxy", text, hint)


def _openclaw(key: str, server: str) -> Setup:
    otel = {
        "enabled": True,
        "endpoint": server,
        "protocol": "http/protobuf",
        "headers": {"Authorization": f"Bearer {key}"},
        "traces": True,
        "metrics": True,
    }
    text = json.dumps({"diagnostics": {"otel": otel}}, indent=2)
    return Setup("openclaw", "OpenClaw", "~/.openclaw/openclaw.json", text, "Each of its agents appears by its name.")


def _hook_url(server: str, program: str, agent: str) -> str:
    return f"{server}/hooks/{program}?agent={quote(agent, safe='')}"


def _curl(key: str, server: str, program: str, agent: str) -> str:
    """With nothing on its output if the server is away: then the tool runs."""
    headers = f"-H 'Authorization: Bearer {key}' -H 'Content-Type: application/json'"
    return f"curl -sf -m {TIMEOUT} {headers} -d @- '{_hook_url(server, program, agent)}'"


def _attribute(value: str) -> str:
    """A value in OTEL_RESOURCE_ATTRIBUTES."""
    return quote(value, safe="")
