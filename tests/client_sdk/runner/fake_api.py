"""An HTTP API with scripted answers, on a Unix socket or a port, that records requests."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request; `query` contains the last value of each name."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class FakeApi:
    """`answers[method, path]` is a status and a body, or a function of the request that returns them; otherwise 404.

    Listens on `socket`, or on a free port. `hang` delays each answer by that many seconds; `headers` are added to each.
    """

    socket: Path | None = None
    hang: float = 0.0
    answers: dict[tuple[str, str], Any] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    wrap: Callable[[Any], Any] = lambda plain: plain

    def __enter__(self) -> FakeApi:
        self._over = threading.Event()
        kind = _Tcp if self.socket is None else _Unix
        self._http = kind(("127.0.0.1", 0) if self.socket is None else str(self.socket), _handler_of(self))  # type: ignore[arg-type]
        self._http.socket = self.wrap(self._http.socket)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(60)

    @property
    def port(self) -> int:
        address: Any = self._http.server_address
        return int(address[1])

    def paths(self, method: str) -> list[str]:
        return [asked.path for asked in self.asked if asked.method == method]

    def take(self, asked: Asked) -> tuple[int, Any]:
        self._over.wait(self.hang)
        self.asked.append(asked)
        found = self.answers.get((asked.method, asked.path), (404, {"message": "no such thing"}))
        status, body = found(asked) if callable(found) else found
        return status, body


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tests disconnect clients on purpose."""


class _Unix(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    handle_error = _Tcp.handle_error


def _handler_of(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            body = json.loads(text) if text else None
            asked = Asked(self.command, url.path, dict(parse_qsl(url.query)), dict(self.headers), body)
            status, answer = api.take(asked)
            data = b"" if answer is None else answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            for name, value in api.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    for method in ("GET", "POST", "PATCH", "PUT"):
        setattr(Handler, f"do_{method}", Handler.respond)
    return Handler
