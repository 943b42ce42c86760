"""Shared framework tests: a program using the real framework runs between a model server and a fake watchdog server."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from clevagent.testing import FakeServer

from tests.client_sdk import environments
from tests.client_sdk.integrations import document
from tests.client_sdk.integrations.model_server import ToolServer

Json = dict[str, Any]
PROGRAMS = Path(__file__).with_name("programs")
AGENTS = ("captured", "uncaptured")
# Disables the frameworks' telemetry; a proxy that does not exist blocks the rest.
SILENT = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "LANGSMITH_TRACING": "false",
    "NO_PROXY": "127.0.0.1",
    "OTEL_SDK_DISABLED": "true",
}


@dataclass(frozen=True)
class Seen:
    """What the watchdog server received from a finished program, and what the model server reported."""

    beats: list[Json]
    said: list[Json]

    def beats_of(self, agent: str) -> list[Json]:
        return [beat for beat in self.beats if beat["agent"] == agent]

    def calls(self, agent: str) -> list[Json]:
        return [call for beat in self.beats_of(agent) for call in beat.get("tool_call_log", [])]

    def used(self, agent: str) -> list[Json]:
        """Model calls in order, without the reporting agent."""
        uses = [use for beat in self.beats_of(agent) for use in beat.get("usage", [])]
        return sorted(({**use, "provider": None} for use in uses), key=_size)

    def errors(self, agent: str) -> list[str]:
        return [beat["message"] for beat in self.beats_of(agent) if beat["status"] == "error"]

    def iterations(self, agent: str) -> int:
        return max(int(beat.get("iteration_count", 0)) for beat in self.beats_of(agent))


def run(environment: str, program: Path) -> Seen:
    """Run it in its own home folder. A stand-in for Claude Code is first on its path."""
    with FakeServer() as server, ToolServer() as models, TemporaryDirectory() as home:
        folders = [str(PROGRAMS / "bin"), str(environments.python_of(environment).parent), os.environ["PATH"]]
        told = {
            "CLEVAGENT_API_KEY": server.key,
            "CLEVAGENT_ENDPOINT": server.url,
            "HOME": home,
            "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": f"{models.url}/v1",
            "PATH": os.pathsep.join(folders),
            "XDG_DATA_HOME": home,
        }
        environments.run(environment, program, env={**SILENT, **told}, timeout=120)
    return Seen(server.beats, sorted(({**use, "provider": None} for use in models.told), key=_size))


def run_once(environment: str, program: Path, folder: Path) -> Seen:
    """Run it once per session, in whichever test process needs it first."""
    kept = folder / f"{program.stem}.json"
    with (folder / f"{program.stem}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_text(json.dumps(asdict(run(environment, program))))
    return Seen(**json.loads(kept.read_text()))


def _size(use: Json) -> int:
    """Each answer of the model server is larger than the previous."""
    return int(use["input_tokens"])


@pytest.mark.live
class Integration:
    """Tests for one framework. Its program runs twice in one process, as the agents "captured" and "uncaptured"."""

    NAME: str
    ENVIRONMENT: str
    TOOL = "weather"
    # Expected per run: tool calls with their success, steps and errors.
    CALLS: list[tuple[str, bool]]
    STEPS: int
    ERRORS: list[str]

    @pytest.fixture(scope="class")
    @classmethod
    def seen(cls, tmp_path_factory: pytest.TempPathFactory) -> Seen:
        folder = tmp_path_factory.getbasetemp()
        shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
        return run_once(cls.ENVIRONMENT, PROGRAMS / f"with_{cls.NAME}.py", shared)

    @pytest.mark.parametrize("agent", AGENTS)
    def test_tool_calls_are_reported_with_outcome(self, seen: Seen, agent: str) -> None:
        calls = seen.calls(agent)
        assert [(call["name"], call["ok"]) for call in calls] == self.CALLS
        assert all(call["args_hash"] for call in calls)

    @pytest.mark.parametrize("agent", AGENTS)
    def test_equal_calls_have_equal_hashes(self, seen: Seen, agent: str) -> None:
        good = [call for call in seen.calls(agent) if call["ok"] and call["name"] == self.TOOL]
        assert len({(call["args"], call["args_hash"], call["result_hash"]) for call in good}) == bool(self.CALLS)

    @pytest.mark.parametrize("agent", AGENTS)
    def test_steps_are_iterations_and_progress(self, seen: Seen, agent: str) -> None:
        assert seen.iterations(agent) == self.STEPS
        assert any(beat.get("progress") for beat in seen.beats_of(agent))

    @pytest.mark.parametrize("agent", AGENTS)
    def test_errors_are_reported(self, seen: Seen, agent: str) -> None:
        assert seen.errors(agent) == self.ERRORS

    def test_example_in_the_docs_reports(self, tmp_path: Path) -> None:
        program = tmp_path / "example.py"
        program.write_text(document.example(self.NAME))
        seen = run(self.ENVIRONMENT, program)
        (agent,) = {beat["agent"] for beat in seen.beats}
        assert seen.iterations(agent) > 0
        assert seen.used(agent) == seen.said or not seen.said
        assert seen.errors(agent) == []
        assert self.CALLS == [] or [call["ok"] for call in seen.calls(agent)] == [True]


class ModelIntegration(Integration):
    """Tests for frameworks whose model calls go through this process."""

    # What the framework itself reports about a model call; it may only know the requested model.
    KNOWS: tuple[str, ...] = ("model", "input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens")

    def test_captured_model_calls_are_counted_once(self, seen: Seen) -> None:
        assert seen.used("captured") == seen.said[: len(seen.said) // 2]

    def test_model_calls_are_counted_without_capture(self, seen: Seen) -> None:
        said = seen.said[len(seen.said) // 2 :]
        assert said
        assert [self.known(use) for use in seen.used("uncaptured")] == [self.known(use) for use in said]

    def known(self, use: Json) -> Json:
        asked = {**use, "model": use["model"].removesuffix("-served")}
        return {name: asked[name] for name in self.KNOWS}
