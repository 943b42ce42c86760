"""Real Claude Code, Codex and Gemini CLI with a fake model in a loop: told first, then denied, and their own output
says why. They are set up with exactly what their page shows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from agents.doors.setup import setups
from agents.ingest import committer
from agents.models import AgentState, IncidentEvent, Signal
from agents.review import review
from teams.models import Project
from tests.agents.doors.programs import looping_models
from tests.agents.doors.programs.installed import program
from tests.agents.doors.programs.looping_models import LoopingModel

pytestmark = [pytest.mark.live, pytest.mark.slow]
PATIENCE = 240.0
PROMPT = "Go on until it works."


@dataclass(frozen=True)
class Cli:
    """How a coding agent is started. `extra` completes the settings of its page with the fake model's address."""

    name: str
    door: str
    model: type[LoopingModel]
    file: str
    argv: Callable[[Path], list[str]]
    env: Callable[[str], dict[str, str]]
    extra: Callable[[str, str], str]
    # Gemini CLI sends its telemetry chunked, which the tests' server cannot read; ours can.
    sends_length: bool = True


def with_settings(text: str, url: str) -> str:
    """Gemini CLI has a loop detection of its own, and asks how to sign in."""
    settings = json.loads(text)
    settings["security"] = {"auth": {"selectedType": "gemini-api-key"}}
    settings["model"] = {"name": "gemini-2.5-flash", "disableLoopDetection": True}
    return json.dumps(settings)


def with_provider(text: str, url: str) -> str:
    table = (
        f'[model_providers.fake]\nname = "fake"\nbase_url = "{url}/v1"\nenv_key = "OPENAI_API_KEY"\n'
        'wire_api = "responses"\nrequest_max_retries = 1\n'
    )
    return f'model = "gpt-5"\nmodel_provider = "fake"\n\n{text}\n\n{table}'


CLIS = [
    Cli(
        name="claude",
        door="claude-code",
        model=looping_models.Anthropic,
        file=".claude/settings.json",
        argv=lambda path: [str(path), "-p", PROMPT, "--allowedTools", "Bash"],
        env=lambda url: {
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": "test",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "ENABLE_TOOL_SEARCH": "false",
        },
        extra=lambda text, url: text,
    ),
    Cli(
        name="codex",
        door="codex",
        model=looping_models.OpenAi,
        file=".codex/config.toml",
        argv=lambda path: [
            *(str(path), "exec", "--skip-git-repo-check", "--dangerously-bypass-hook-trust"),
            *("--dangerously-bypass-approvals-and-sandbox", PROMPT),
        ],
        env=lambda url: {"OPENAI_API_KEY": "test"},
        extra=with_provider,
    ),
    Cli(
        name="gemini",
        door="gemini-cli",
        model=looping_models.Google,
        file=".gemini/settings.json",
        argv=lambda path: [str(path), "--approval-mode", "yolo", "-m", "gemini-2.5-flash", "-p", PROMPT],
        env=lambda url: {
            "GEMINI_API_KEY": "test",
            "GOOGLE_GEMINI_BASE_URL": url,
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
        },
        extra=with_settings,
        sends_length=False,
    ),
]
EACH = pytest.mark.parametrize("cli", CLIS, ids=lambda cli: cli.name)


@pytest.fixture
def armed(transactional_db: None, project: Project) -> Iterator[Project]:
    Project.objects.update(rules={"loop": {"nudge": True, "hold": True}})
    yield project
    committer.close()


@pytest.fixture
def server(live_server: Any, settings: Any) -> str:
    settings.BASE_URL = live_server.url
    return str(live_server.url)


def started(cli: Cli, model: LoopingModel, server: str, key: str, home: Path) -> subprocess.Popen[str]:
    (door,) = [door for door in setups(key, server, "fixer") if door.key == cli.door]
    (home / cli.file).parent.mkdir(parents=True)
    (home / cli.file).write_text(cli.extra(door.text, model.url))
    work = home / "work"
    work.mkdir()
    own = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        # What the page says about starting Codex and Gemini CLI.
        "OTEL_RESOURCE_ATTRIBUTES": "agent.name=fixer",
        "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer%20{key}",
    }
    return subprocess.Popen(
        cli.argv(program(cli.name)),
        cwd=work,
        env={**own, **cli.env(model.url)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def watch(process: subprocess.Popen[str], until: Callable[[], bool]) -> None:
    """Review the agent, as the worker does every second, while the program runs."""
    end = time.monotonic() + PATIENCE
    while not until() and time.monotonic() < end:
        review.review(list(AgentState.objects.values_list("agent_id", flat=True)), timezone.now())
        time.sleep(0.1)
    if not until():
        os.killpg(process.pid, signal.SIGKILL)


@EACH
def test_loop_is_told_then_denied(cli: Cli, armed: Project, server: str, api_key: str, tmp_path: Path) -> None:
    with cli.model() as model:
        process = started(cli, model, server, api_key, tmp_path)
        watch(process, lambda: process.poll() is not None)
        said, _ = process.communicate()
    shown = said[-3000:]
    assert looping_models.NUDGED in model.nudge, shown
    assert looping_models.DENIED in model.denial, shown
    assert "The hold ends when a person resolves the incident" in model.denial
    assert looping_models.DENIED in said, "its own output says why"
    state = AgentState.objects.get(agent__names__name="fixer")
    texts = list(IncidentEvent.objects.values_list("text", flat=True))
    assert [text for text in texts if text.startswith("Told the agent: ")], texts
    assert [text for text in texts if text.startswith("Denied the tool ")], texts
    if cli.sends_length:
        assert state.tokens_today == sum(model.tokens), "its telemetry tells all that the model used"


def test_killed_agent_is_told(armed: Project, server: str, api_key: str, tmp_path: Path) -> None:
    """After `kill -9`, Claude Code sends no end of its session: the turn under way is stalled."""
    (cli,) = [cli for cli in CLIS if cli.name == "claude"]
    Project.objects.update(rules={})
    with cli.model() as model:
        process = started(cli, model, server, api_key, tmp_path)
        watch(process, lambda: model.calls >= 2)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    state = AgentState.objects.get(agent__names__name="fixer")
    assert state.reported == "ok"
    review.review([state.agent_id], timezone.now() + timedelta(hours=2))
    assert Signal.objects.get().kind == "stalled"
