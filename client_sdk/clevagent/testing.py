"""A server for the tests of programs that use `clevagent`. It speaks the API and records every request.

with clevagent.testing.FakeServer() as server:
    clevagent.init(api_key=server.key, agent="bot", endpoint=server.url)
    my_agent.run_once()
    clevagent.shutdown()
assert server.spent() == Decimal("0.0124")
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Callable

API = "/api/v1"
KEY = "cv_test"


@dataclass(frozen=True)
class Request:
    """One received request; `body` is decoded JSON or None."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class FakeServer:
    """A real HTTP server on 127.0.0.1, running inside the `with` block.

    It records `requests`, `beats` (each heartbeat once, even if it was re-sent) and `results` of commands.

    Control its answers with `answer` (merged into the answer to each heartbeat), `commands` (handed out once), `status`
    (instead of 200, with `retry_after` in seconds), `hang` (seconds before each answer) and `may_restart` (status and
    body for a runner that asks for a restart).
    """

    key: str = KEY
    port: int = 0
    answer: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    retry_after: float | None = None
    hang: float = 0.0
    commands: list[dict[str, Any]] = field(default_factory=list)
    may_restart: tuple[int, dict[str, Any]] = (201, {"id": 1})
    requests: list[Request] = field(default_factory=list)
    beats: list[dict[str, Any]] = field(default_factory=list)
    results: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    on_beat: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None

    def __enter__(self) -> FakeServer:
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._http = _Server(("127.0.0.1", self.port), _handler_of(self))
        self.port = int(self._http.server_address[1])
        # serve_forever() checks for shutdown this often, in seconds; tests should not wait for it.
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def beats_of(self, agent: str) -> list[dict[str, Any]]:
        return [beat for beat in list(self.beats) if beat.get("agent") == agent]

    def usage(self) -> list[dict[str, Any]]:
        """Every reported `usage` entry, in order."""
        return [use for beat in list(self.beats) for use in beat.get("usage", [])]

    def calls(self) -> list[dict[str, Any]]:
        """Every reported tool call, in order."""
        return [call for beat in list(self.beats) for call in beat.get("tool_call_log", [])]

    def spent(self) -> Decimal:
        """Reported US dollars: `cost_usd` of heartbeats and of their usage."""
        claims = [item.get("cost_usd") or 0 for item in [*list(self.beats), *self.usage()]]
        return sum((Decimal(str(claim)) for claim in claims), Decimal(0))

    def tokens(self) -> int:
        counted = [beat.get("tokens_used") or 0 for beat in list(self.beats)]
        used = [use.get("input_tokens", 0) + use.get("output_tokens", 0) for use in self.usage()]
        return int(sum(counted) + sum(used))

    def wait_for(self, what: int | Callable[[], Any], seconds: float = 5.0) -> Any:
        """Wait for a number of heartbeats, or until `what` returns something true, and return that.

        Raises AssertionError after `seconds`, listing the received heartbeats.
        """
        seen = (lambda: len(self.beats) >= what) if isinstance(what, int) else what
        end = time.monotonic() + seconds
        while not (result := seen()):
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s; received: {json.dumps(self.beats, indent=1)}")
            time.sleep(0.01)
        return result

    def _take(self, request: Request) -> tuple[int, Any]:
        self._ended.wait(self.hang)
        with self._lock:
            self.requests.append(request)
            if request.headers.get("X-API-Key") != self.key:
                return 401, _error("unauthorized", "The API key is missing or unknown.")
            if self.status != 200:
                return self.status, _error("unavailable", "Simulated outage.")
            return self._answer(request)

    def _answer(self, request: Request) -> tuple[int, Any]:
        path = request.path.partition("?")[0]
        if path == f"{API}/heartbeat":
            return 200, self._beat(request.body)
        if path == f"{API}/heartbeat/batch":
            return 200, {"results": [self._beat(beat) for beat in request.body["heartbeats"]]}
        if path == f"{API}/commands" and request.method == "POST":
            return self.may_restart
        if path == f"{API}/commands":
            waiting, self.commands[:] = list(self.commands), []
            return 200, waiting
        if path.startswith(f"{API}/commands/"):
            self.results.append((int(path.split("/")[4]), request.body))
            return 200, {}
        if path == f"{API}/status":
            return 200, {"count": 0, "next": None, "previous": None, "results": []}
        return 404, _error("not_found", "No such path.")

    def _beat(self, beat: dict[str, Any]) -> dict[str, Any]:
        known = {seen.get("beat_id") for seen in self.beats} - {None}
        if beat.get("beat_id") not in known:
            self.beats.append(beat)
        more = self.on_beat(beat) if self.on_beat else None
        plain = {"agent_id": 1, "status": "ok", "warning": None, "reason": None, "incident": None, "hold": False}
        return {**plain, **self.answer, **(more or {})}


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tests disconnect clients on purpose."""


def _handler_of(server: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are separate writes; Nagle's algorithm would delay the second.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._respond()

        do_POST = do_GET  # noqa: N815 - http.server requires the name

        def _respond(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            status, answer = server._take(Request(self.command, self.path, dict(self.headers), _decoded(body)))
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            if server.retry_after is not None:
                self.send_header("Retry-After", str(server.retry_after))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server requires the name
            """Print nothing."""

    return Handler


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
