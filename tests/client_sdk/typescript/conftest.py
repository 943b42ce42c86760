"""JavaScript programs that use the client, against a server that speaks the API."""

from __future__ import annotations

import os
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
from clevagent.testing import FakeServer

from tests.client_sdk.typescript import npm
from tests.flows.installation import PATIENCE

CLIENT = Path(__file__).resolve().parents[3] / "client_sdk" / "typescript"


class Script:
    """A program in its own process. `clevagent` is imported, and its settings are in the environment."""

    def __init__(self, server: FakeServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CLEVAGENT")},
            "CLEVAGENT_API_KEY": server.key,
            "CLEVAGENT_ENDPOINT": server.url,
            "CLEVAGENT_AGENT": "bot",
            "XDG_STATE_HOME": str(folder / "state"),
            "NO_COLOR": "1",
        }

    def start(self, code: str, runtime: str = "node", **env: str) -> subprocess.Popen[str]:
        file = self.folder / "agent.mjs"
        module = (CLIENT / "clevagent.js").as_uri()
        file.write_text(f'import * as clevagent from "{module}";\n{textwrap.dedent(code)}')
        pipe = subprocess.PIPE
        command = [*npm.runtime(runtime), str(file)]
        return subprocess.Popen(
            command, cwd=self.folder, env={**self.environment, **env}, stdout=pipe, stderr=pipe, text=True
        )

    def run(self, code: str, runtime: str = "node", **env: str) -> subprocess.CompletedProcess[str]:
        with self.start(code, runtime, **env) as process:
            try:
                out, err = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def unsent(self) -> list[Path]:
        """The files with what could not be sent."""
        return sorted(self.folder.glob("state/clevagent/unsent-*"))


@pytest.fixture
def script(server: FakeServer, tmp_path: Path) -> Script:
    return Script(server, tmp_path)


def statuses(server: FakeServer) -> list[Any]:
    return [beat["status"] for beat in server.beats]
