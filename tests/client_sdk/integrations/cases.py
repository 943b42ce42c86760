"""What every integration is held to: a program of a real framework against a model server and a ClevAgent server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clevagent.testing import FakeServer
from tests.client_sdk import environments
from tests.client_sdk.integrations.model_server import ToolServer, in_order

PROGRAMS = Path(__file__).with_name("programs")


@dataclass(frozen=True)
class Seen:
    """What the servers were told: each tool call, each model call, each beat, by agent; and what the models said."""

    server: FakeServer
    models: ToolServer

    def beats(self, agent: str) -> list[dict[str, Any]]:
        return self.server.beats_of(agent)

    def calls(self, agent: str) -> list[dict[str, Any]]:
        return [call for beat in self.beats(agent) for call in beat.get("tool_call_log", [])]

    def used(self) -> list[dict[str, Any]]:
        uses = [{name: value for name, value in use.items() if name != "provider"} for use in self.server.usage()]
        return sorted(uses, key=in_order)

    def errors(self, agent: str) -> list[str]:
        return [beat["message"] for beat in self.beats(agent) if beat["status"] == "error"]

    def iterations(self, agent: str) -> int:
        return max(beat.get("iteration_count", 0) for beat in self.beats(agent))


def run(environment: str, program: Path, **env: str) -> Seen:
    """Run it; the answer is what the two servers saw until it ended."""
    with FakeServer() as server, ToolServer() as models:
        told = {
            "CLEVAGENT_API_KEY": server.key,
            "CLEVAGENT_ENDPOINT": server.url,
            "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": f"{models.url}/v1",
        }
        environments.run(environment, program, env={**told, **env}, timeout=120)
    return Seen(server, models)
