"""Every call style of the real SDKs: the server receives what the model provider reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from clevagent.testing import FakeServer

from tests.client_sdk.capture.model_server import ModelServer
from tests.client_sdk.environments import run

pytestmark = pytest.mark.live

PROGRAMS = Path(__file__).parent / "programs"

# Not supported by a release.
PARSES = {"chat-parse", "chat-parse-async"}
HELPERS = {"chat-stream-helper", "chat-stream-helper-async"}
STREAMED = {"chat-streamed-response", "chat-streamed-response-async"}
RESPONSES = {
    *("response", "response-async", "response-stream", "response-stream-async", "response-stream-helper"),
    *("response-parse", "response-raw", "response-in-the-background", "response-looked-up-again"),
}
BETA = {"beta", "beta-stream", "beta-stream-helper-async"}
RELEASES: list[tuple[str, str, set[str]]] = [
    ("models_oldest", "openai_calls", PARSES | HELPERS | STREAMED | RESPONSES),
    ("models_middle", "openai_calls", set()),
    ("models_newest", "openai_calls", set()),
    ("models_oldest", "anthropic_calls", BETA | {"message-parse", "tool-runner"}),
    ("models_middle", "anthropic_calls", {"message-parse", "tool-runner"}),
    ("models_newest", "anthropic_calls", set()),
    ("google_oldest", "google_calls", set()),
    ("google_newest", "google_calls", set()),
    ("litellm_oldest", "litellm_calls", set()),
    ("litellm_newest", "litellm_calls", set()),
]
# Without an id, chunks of an abandoned stream cannot be assigned.
UNSEEN = {"google_oldest": {"left-stream"}}
# For streams, LiteLLM reports the requested model, unless OpenAI's SDK knows better.
NAMED_AS_ASKED = {"litellm_calls": {"to-anthropic-stream", "to-anthropic-stream-async"}}
# With a custom address, as here, only these reveal the provider.
CLAUDE = {f"to-anthropic{how}": "anthropic" for how in ("", "-async", "-stream", "-stream-async")}
PROVIDERS = {
    "openai_calls": {"chat-azure": "azure"},
    "anthropic_calls": {"vertex": "google", "vertex-stream": "google"},
    "litellm_calls": {**CLAUDE, "after-a-program-set-callbacks-of-its-own": "anthropic"},
}


@pytest.mark.parametrize(("environment", "program", "lacks"), RELEASES)
def test_every_call_style_is_counted_once(environment: str, program: str, lacks: set[str]) -> None:
    with ModelServer() as models, FakeServer() as server:
        printed = run(environment, PROGRAMS / f"{program}.py", env=variables(models, server))
        # LiteLLM prints as well.
        failed = json.loads(printed.splitlines()[-1])
        assert set(failed) == lacks, failed
        unseen = lacks | UNSEEN.get(environment, set())
        said = {name: uses for name, uses in models.said.items() if name not in unseen}
        if environment == "litellm_oldest":
            leave_out_cache_writes(said)
        assert by_model(server.usage()) == said
        asked_for = {use["model"] for use in server.usage() if not use["model"].endswith("-served")}
        assert asked_for == NAMED_AS_ASKED.get(program, set())
        paid = {use["model"].removesuffix("-served"): use["provider"] for use in server.usage() if "provider" in use}
        assert paid == PROVIDERS.get(program, dict.fromkeys(said, "google"))


def variables(models: ModelServer, server: FakeServer) -> dict[str, str]:
    return {
        "MODEL_SERVER": models.url,
        "CLEVAGENT_API_KEY": server.key,
        "CLEVAGENT_ENDPOINT": server.url,
        "CLEVAGENT_AGENT": "bot",
        # LiteLLM would download its price list.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }


def leave_out_cache_writes(said: dict[str, list[dict[str, Any]]]) -> None:
    """LiteLLM before 1.80 omits cache writes from Anthropic's input."""
    for use in (use for uses in said.values() for use in uses):
        use["input_tokens"] -= use.get("cache_write_tokens", 0)


def by_model(usage: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in usage:
        counts = {name: value for name, value in entry.items() if name not in ("model", "provider")}
        found.setdefault(entry["model"].removesuffix("-served"), []).append(counts)
    for calls in found.values():
        calls.sort(key=lambda counts: counts["input_tokens"])
    return found
