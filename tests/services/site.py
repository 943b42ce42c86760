"""An installation with a full-access key, the real runner, and the state of agents according to the API."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.flows.installation import PATIENCE, ROOT, Installation, wait_until
from tests.live import Program, create_project


@dataclass
class Site:
    running: Installation
    key: str
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.running.port}"

    @property
    def env(self) -> dict[str, str]:
        """The environment of the SDK and the runner."""
        return {
            "CLEVAGENT_API_KEY": self.key,
            "CLEVAGENT_ENDPOINT": self.url,
            "PYTHONPATH": str(ROOT / "client_sdk"),
        }

    def call(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> tuple[int, Any]:
        headers = {"X-API-Key": self.key, "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", data, headers, method=method)
        return self.running.request(request)

    def agent(self, name: str) -> Any:
        """The agent in `/status`; None while it is unknown."""
        return next((agent for agent in self.call("status")[1]["results"] if agent["name"] == name), None)

    def path(self, name: str) -> str:
        return f"agents/{self.agent(name)['id']}"

    def status(self, name: str) -> str:
        found = self.agent(name)
        return found["status"] if found else ""

    def until(self, name: str, *statuses: str) -> str:
        """Wait until the agent has one of these statuses; returns it."""
        wait_until(lambda: self.status(name) in statuses, f"{name} is {statuses}: {self.status(name)}")
        return self.status(name)

    def arm(self, name: str, policy: str = "manual") -> None:
        status, answer = self.call(self.path(name), {"restart_policy": policy}, "PATCH")
        assert status == 200, answer

    def command(self, name: str, action: str) -> int:
        """Request a restart or stop; the command's id."""
        status, answer = self.call(f"{self.path(name)}/{action}", {})
        assert status == 202, answer
        number: int = answer["id"]
        return number

    def incidents(self, name: str) -> list[Any]:
        """The agent's incidents with all details, oldest first."""
        listed = self.call(f"incidents?agent={self.agent(name)['id']}")[1]["results"]
        return [self.call(f"incidents/{incident['id']}")[1] for incident in listed][::-1]

    def beats(self, name: str) -> list[Any]:
        """The agent's heartbeats, oldest first."""
        found: list[Any] = self.call(f"{self.path(name)}/heartbeats")[1]["results"]
        return found[::-1]

    @contextmanager
    def runner(self, name: str, *options: str, **env: str) -> Iterator[Program]:
        """The real runner with this name, which checks every second and keeps its state in this site's folder."""
        state, log = self.folder / f"{name}.json", self.folder / f"{name}.log"
        words = ("start", "--name", name, "--heartbeat-interval", "1", "--state", str(state), *options)
        started = Program(log, sys.executable, "-m", "clevagent.runner", *words, **{**self.env, **env})
        try:
            wait_until(lambda: started.lines(" is watching ") or not started.is_running, "the runner is ready")
            assert started.is_running, log.read_text()
            yield started
        finally:
            started.process.terminate()
            started.process.wait(PATIENCE)
            started.end()


@contextmanager
def site(folder: Path, **env: Any) -> Iterator[Site]:
    with ExitStack() as stack:
        running = Installation(folder / "data", "--quiet", **env)
        stack.callback(running.stop)
        running.start()
        made = create_project(running, "owner@localhost", "full", "My team", "Production")
        yield Site(running, made["api_key"], folder)


def directives(env: Mapping[str, str]) -> str:
    """The variables in the format of a unit's `Environment=`."""
    return " ".join(f'"{name}={value}"' for name, value in env.items())
