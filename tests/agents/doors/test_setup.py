"""What the pages show is what docs/doors.md shows, and each block is valid for its program."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import yaml

from agents.doors.setup import Setup, setups
from agents.doors.urls import urlpatterns

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "doors.md").read_text()
SHOWN = setups("KEY", "http://127.0.0.1:8000", "nightly-fixer")
BY_KEY = {door.key: door for door in SHOWN}
EACH = pytest.mark.parametrize("door", SHOWN, ids=lambda door: door.key)


@EACH
def test_documentation_shows_the_same(door: Setup) -> None:
    assert f"\n{door.text}\n```" in PAGE
    assert door.where == "a shell" or door.where in PAGE or "config.yaml" in door.where


@EACH
def test_addresses_exist(door: Setup) -> None:
    paths = {str(pattern.pattern) for pattern in urlpatterns}
    words = door.text.replace("'", " ").replace('"', " ").split()
    named = [word.partition("?")[0] for word in words if word.startswith("http://127.0.0.1:8000/")]
    assert {word.removeprefix("http://127.0.0.1:8000/") for word in named} <= paths


def test_files_are_valid() -> None:
    for key in ("claude-code", "gemini-cli", "openclaw"):
        assert json.loads(BY_KEY[key].text)
    config = tomllib.loads(BY_KEY["codex"].text)
    assert config["otel"]["exporter"]["otlp-http"]["protocol"] == "binary"
    assert set(config["hooks"]) >= {"PreToolUse", "PostToolUse"}
    (guardrail,) = yaml.safe_load(BY_KEY["litellm"].text)["guardrails"]
    assert guardrail["litellm_params"]["unreachable_fallback"] == "fail_open"


def test_hooks_of_claude_code_have_a_timeout() -> None:
    """Without one, it waits ten minutes for a server that hangs."""
    hooks = json.loads(BY_KEY["claude-code"].text)["hooks"]
    assert all(hook["timeout"] <= 5 for each in hooks.values() for entry in each for hook in entry["hooks"])


def test_odd_names_are_escaped() -> None:
    odd = {door.key: door.text for door in setups("KEY", "http://h", "night, shift=1 & 'x'")}
    assert "agent=night%2C%20shift%3D1%20%26%20%27x%27" in odd["claude-code"]
    assert "agent.name=night%2C%20shift%3D1%20%26%20%27x%27" in odd["opentelemetry"]
    assert tomllib.loads(odd["codex"])
