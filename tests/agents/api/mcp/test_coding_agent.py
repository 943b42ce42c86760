"""A coding agent's own client of MCP: Claude Code, whose model is a fake, calls a tool of the watchdog."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from django.utils import timezone

from agents.fleet import services as fleet
from agents.ingest import committer
from agents.models import Agent
from teams import services
from teams.models import Project
from tests.agents.api.mcp.fake_model import FakeModel
from tests.agents.doors.programs.installed import program

pytestmark = [pytest.mark.live, pytest.mark.slow]
TOOL: Final = "mcp__watchdog__list_agents"


@pytest.fixture
def agent(transactional_db: None, project: Project) -> Iterator[Agent]:
    yield fleet.add_agent(project=project, name="night-shift", kind="agent", actor="test", now=timezone.now())
    committer.close()


@pytest.fixture(scope="session")
def claude() -> Path:
    """The program, installed once. Skips the test where npm cannot give it."""
    return program("claude")


def test_claude_code_calls_a_tool(claude: Path, agent: Agent, live_server: Any, tmp_path: Path) -> None:
    key = services.issue_key(project=agent.project, name="read", scope="read", actor="test")[1]
    server = {"type": "http", "url": f"{live_server.url}/mcp", "headers": {"Authorization": f"Bearer {key}"}}
    config = tmp_path / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"watchdog": server}}))
    with FakeModel(TOOL, {}) as model:
        done = subprocess.run(
            [claude, "-p", "How are they?", "--mcp-config", config, "--strict-mcp-config", "--allowedTools", TOOL],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "ANTHROPIC_BASE_URL": model.url,
                "ANTHROPIC_API_KEY": "test",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                # All tools at once: a fake model searches for none.
                "ENABLE_TOOL_SEARCH": "false",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert TOOL in model.offered
    assert "night-shift" in model.results[0]
