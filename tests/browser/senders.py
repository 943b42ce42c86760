"""What each program does with the text that its page shows, without the program.

Reads address and key from the text, and sends a body that the real program sent.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
import tomllib
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

from tests.agents.doors.captures import FIXTURES
from tests.agents.doors.webhooks import payloads
from tests.flows.installation import PATIENCE

PROTOBUF = "application/x-protobuf"


def post(url: str, body: bytes, headers: dict[str, str], kind: str = "application/json") -> None:
    request = urllib.request.Request(url, body, {"Content-Type": kind, **headers})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        assert answer.status == 200


def first_event(name: str) -> bytes:
    return (FIXTURES / "doors" / name).read_bytes().splitlines()[0]


def in_shell(command: str, given: bytes, home: Path) -> None:
    argv = ["sh", "-ec", command]
    done = subprocess.run(
        argv, input=given, capture_output=True, timeout=PATIENCE, env={**os.environ, "HOME": str(home)}
    )
    assert done.returncode == 0, done.stderr


def exports(text: str) -> dict[str, str]:
    """The variables that a shell would set."""
    words = [word for line in text.splitlines() for word in shlex.split(line) if "=" in word]
    return dict(word.split("=", 1) for word in words)


def otlp_headers(told: str) -> dict[str, str]:
    name, _, value = told.partition("=")
    return {name: unquote(value)}


def claude_code(text: str, home: Path) -> None:
    settings = json.loads(text)
    (hook,) = settings["hooks"]["UserPromptSubmit"][0]["hooks"]
    headers = {
        name: value.replace("$AGENT_KEY", settings["env"]["AGENT_KEY"]) for name, value in hook["headers"].items()
    }
    post(hook["url"], first_event("claude_code_hooks_httpjson.hooks.jsonl"), headers)


def codex(text: str, home: Path) -> None:
    (hook,) = tomllib.loads(text)["hooks"]["UserPromptSubmit"][0]["hooks"]
    in_shell(hook["command"], first_event("codex_cli.hooks.jsonl"), home)


def gemini_cli(text: str, home: Path) -> None:
    (hook,) = json.loads(text)["hooks"]["SessionStart"][0]["hooks"]
    in_shell(hook["command"], first_event("gemini_cli.hooks.jsonl"), home)


def opencode(text: str, home: Path) -> None:
    in_shell(text, b"", home)
    plugin = home / ".config/opencode/plugins/clevagent.js"
    given = exports(text)
    address = re.findall(r'"(http://[^"]+)"', plugin.read_text())[0]
    url = f"{address}/hooks/opencode?agent={given['CLEVAGENT_AGENT']}"
    told = (FIXTURES / "doors/opencode_plugin.events.jsonl").read_bytes().splitlines()
    prompt = next(event for event in told if json.loads(event)["hook"] == "chat.message")
    post(url, prompt, {"Authorization": f"Bearer {given['CLEVAGENT_API_KEY']}"})


def opentelemetry(text: str, home: Path) -> None:
    given = exports(text)
    body = (FIXTURES / "otlp/genai_openai.traces.bin").read_bytes()
    url = f"{given['OTEL_EXPORTER_OTLP_ENDPOINT']}/v1/traces"
    post(url, body, otlp_headers(given["OTEL_EXPORTER_OTLP_HEADERS"]), PROTOBUF)


def langfuse(text: str, home: Path) -> None:
    given = exports(text)
    pair = f"{given['LANGFUSE_PUBLIC_KEY']}:{given['LANGFUSE_SECRET_KEY']}".encode()
    body = (FIXTURES / "doors/langfuse_5_otel.traces.bin").read_bytes()
    headers = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    post(f"{given['LANGFUSE_HOST']}/api/public/otel/v1/traces", body, headers, PROTOBUF)


def litellm(text: str, home: Path) -> None:
    given = yaml.safe_load(text)["environment_variables"]
    body = (FIXTURES / "doors/litellm.generic_api.json").read_bytes()
    post(given["GENERIC_LOGGER_ENDPOINT"], body, otlp_headers(given["GENERIC_LOGGER_HEADERS"]))


def openclaw(text: str, home: Path) -> None:
    otel = json.loads(text)["diagnostics"]["otel"]
    named = [{"key": "openclaw.agent", "value": {"stringValue": "claw"}}]
    tokens = {
        "asInt": 120,
        "timeUnixNano": "1796032800000000000",
        "attributes": [*named, _of("openclaw.token", "input")],
    }
    metric = {"name": "openclaw.tokens", "sum": {"aggregationTemporality": 1, "dataPoints": [tokens]}}
    resource = {"attributes": [_of("service.name", "openclaw")]}
    body = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]}
    post(f"{otel['endpoint']}/v1/metrics", json.dumps(body).encode(), otel["headers"])


def _of(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


DOORS: dict[str, Callable[[str, Path], None]] = {
    "claude-code": claude_code,
    "codex": codex,
    "gemini-cli": gemini_cli,
    "opencode": opencode,
    "opentelemetry": opentelemetry,
    "langfuse": langfuse,
    "litellm": litellm,
    "openclaw": openclaw,
}


# Webhooks


def signed(kind: str, event: str, text: str, secret: str) -> None:
    """Send a payload to the address in the text, signed with the secret that the text has, if it has one."""
    url = re.findall(r"http://[\w.:/-]+", text)[0]
    told = re.findall(r"(?:secret\]=|token=|credentials: )([\w+/=-]+)", text)
    body = json.dumps(payloads.payload(f"{kind}.{event}" if event else kind)).encode()
    headers = payloads.headers_of(kind, event, body, told[0] if told else secret)
    post(url, body, headers)
