"""A coding agent's own client of MCP: Claude Code, whose model is a fake, calls a tool of the watchdog."""

from __future__ import annotations

import json
import os
import shutil
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
from tests.client_sdk import environments

pytestmark = [pytest.mark.live, pytest.mark.slow]
PACKAGE: Final = "@anthropic-ai/claude-code@2.1.332"
TOOL: Final = "mcp__watchdog__list_agents"


@pytest.fixture
def agent(transactional_db: None, project: Project) -> Iterator[Agent]:
    yield fleet.add_agent(project=project, name="night-shift", kind="agent", actor="test", now=timezone.now())
    committer.close()


@pytest.fixture(scope="session")
def claude() -> Path:
    """The program, installed once. Skips the test where npm cannot give it."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    home = Path(os.environ.get("CLEVAGENT_TEST_ENVIRONMENTS") or environments.ROOT / ".test-environments")
    folder = home / "claude-code"
    program = folder / "node_modules" / ".bin" / "claude"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), PACKAGE]
        try:
            subprocess.run(install, capture_output=True, text=True, check=True, timeout=600)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"npm cannot give Claude Code: {str(error.stderr)[-200:]}")
    if subprocess.run([program, "--version"], capture_output=True).returncode:
        pytest.skip("Claude Code does not run on this machine")
    return program


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
