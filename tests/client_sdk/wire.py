"""What goes over the wire: the Python and the TypeScript client's sending side, with a fake server and clock.

Hours pass in a moment. The TypeScript client runs in Node, Deno or Bun: one line of JSON per call, step and request.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clevagent.client import Client
from clevagent.options import Options
from clevagent.transport import Answer, UnreachableError

EPOCH = 1_750_000_000.0
DRIVER = Path(__file__).parent / "typescript" / "driver.mjs"


class Server:
    """Keeps each heartbeat once, by its id. `away` and `says` control the answers."""

    def __init__(self) -> None:
        self.beats: dict[str, dict[str, Any]] = {}
        self.order: list[dict[str, Any]] = []
        self.requests = 0
        self.away = False
        self.says: Callable[[dict[str, Any]], Answer | None] = lambda beat: None
        self.loses_answers = False

    def request(self, method: str, path: str, body: Any = None) -> Answer:
        self.requests += 1
        if self.away:
            raise UnreachableError("refused")
        found = [self._one(beat) for beat in body.get("heartbeats", [body])]
        if self.loses_answers:
            raise UnreachableError("timed out")
        if path.endswith("/batch"):
            return Answer(200, {"results": [answer.body for answer in found]})
        return found[0]

    def close(self) -> None:
        """Nothing is open."""

    def limit(self, seconds: float) -> None:
        """Requests take no time."""

    def _one(self, beat: dict[str, Any]) -> Answer:
        refused = self.says(beat)
        if refused is not None:
            return refused
        if beat["beat_id"] not in self.beats:
            self.beats[beat["beat_id"]] = beat
            self.order.append(beat)
        return Answer(200, {"agent_id": 1})

    def cost(self) -> Decimal:
        return sum((Decimal(str(beat.get("cost_usd", 0))) for beat in self.order), Decimal(0))


class Passing:
    """Time that the test makes pass. Subclasses say what a step is."""

    now = 1000.0
    look_at = 0.0

    def step(self) -> None:
        raise NotImplementedError

    def let_pass(self, seconds: float) -> None:
        """Run the steps that are due within this many seconds."""
        end = self.now + seconds
        self.step()
        while self.look_at <= end:
            self.now = max(self.look_at, self.now + 0.001)
            self.step()
        self.now = end


class Agent(Passing):
    """A Python client without a thread: tests run its steps with their own clock."""

    def __init__(self, server: Server, **options: Any) -> None:
        given = Options(**{"api_key": "k", "agent": "bot", "interval": 30.0, **options})
        self.client = Client(given, transport=server, clock=lambda: self.now, report_crashes=False)
        self.reporter = self.client.reporter
        self.client._worker.wake = lambda: None  # type: ignore[method-assign]

    def step(self) -> None:
        self.look_at = self.reporter.step(self.now, EPOCH + self.now)

    def finish(self) -> None:
        self.reporter.finish(self.now, EPOCH + self.now)

    def unsent(self) -> int:
        return len(self.reporter.outbox)

    def say_goodbye(self) -> None:
        self.client.recorder.report("shutdown", is_final=True)

    def crash(self, error: Exception) -> None:
        self.client.crashed(error, "")


class TypeScriptAgent(Passing):
    """The TypeScript client with the same clock. Calls are written as for Python's."""

    def __init__(self, node: Node, server: Server, **options: Any) -> None:
        self._node, self._server = node, server
        given = {_camel(name): value for name, value in {"agent": "bot", "interval": 30.0, **options}.items()}
        self._number = self._say("start", {"apiKey": "k", "spool": False, **given})
        self.client = self

    def _say(self, what: str, *args: Any) -> Any:
        about = {"agent": getattr(self, "_number", None), "what": what, "args": args}
        return self._node.say({**about, "now": self.now, "wall": EPOCH + self.now}, self._server)

    def step(self) -> None:
        self.look_at = self._say("step")

    def finish(self) -> None:
        self._say("finish")

    def unsent(self) -> int:
        return int(self._say("unsent"))

    def say_goodbye(self) -> None:
        self._say("sayGoodbye")

    def crash(self, error: Exception) -> None:
        self._say("crash", type(error).__name__, str(error))

    def ping(self, status: str = "ok", message: str | None = None, **details: Any) -> None:
        self._say("ping", status, message, {_camel(name): value for name, value in details.items()})

    def log_cost(self, tokens: int = 0, cost_usd: float = 0) -> None:
        self._say("logCost", tokens, cost_usd)

    def log_usage(self, **usage: Any) -> None:
        self._say("logUsage", {_camel(name): value for name, value in usage.items()})

    def log_tool_call(self, name: str, args_summary: str = "", **details: Any) -> None:
        self._say("logToolCall", name, {"argsSummary": args_summary, **details})

    def log_iteration(self, count: int) -> None:
        self._say("logIteration", count)

    def log_prompt(self, text: str) -> None:
        self._say("logPrompt", text)

    def waiting(self, for_: str, until: float | None = None) -> None:
        self._say("waiting", for_, until)


class Node:
    """One process of Node, Deno or Bun for many agents; each request goes to the server of the agent that makes it.

    `command` runs a JavaScript file; default: the installed Node.
    """

    def __init__(self, command: Sequence[str] = ()) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([*(command or [node()]), str(DRIVER)], stdin=pipe, stdout=pipe, text=True)

    def say(self, line: dict[str, Any], server: Server | None) -> Any:
        self._write(line)
        while "request" in (answer := json.loads(self._read())):
            assert server is not None
            self._write(_respond(server, *answer["request"]))
        assert "error" not in answer, answer["error"]
        return answer.get("result")

    def _write(self, line: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()

    def _read(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()

    def close(self) -> None:
        self._process.communicate()


def _respond(server: Server, path: str, body: Any) -> dict[str, Any]:
    try:
        answer = server.request("POST", path, body)
    except UnreachableError as error:
        return {"unreachable": str(error)}
    return {"status": answer.status, "body": answer.body, "retryAfter": answer.retry_after}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def node() -> str:
    """The path of Node. Skips the test without Node 20 or later."""
    found = shutil.which("node")
    version = subprocess.run([found, "--version"], capture_output=True, text=True).stdout if found else ""
    if not found or int(version.lstrip("v").partition(".")[0]) < 20:
        pytest.skip("needs Node 20 or later")
    return found
