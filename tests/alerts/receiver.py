"""A real HTTP server on a real socket, as friendly or hostile as a test needs."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedReader
from types import TracebackType

Answer = Callable[[socket.socket], None]


def responds(status: str, body: bytes = b"", *headers: str) -> Answer:
    """A valid HTTP response, such as `responds("200 OK", b"ok")`."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return lambda peer: peer.sendall("\r\n".join(lines).encode() + body)


@dataclass
class Request:
    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Listens on 127.0.0.1 and records `requests`. `answer` may be replaced at any time."""

    answer: Answer = field(default_factory=lambda: responds("204 No Content"))
    context: ssl.SSLContext | None = None
    greeting: bytes = b""
    keeps_connections: bool = False
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Receiver:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._peers: list[socket.socket] = []
        self._start(self._serve)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
        for peer in self._peers:
            with suppress(OSError):  # the other side may keep it open
                peer.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(60)

    def close(self) -> None:
        """Stop listening; connections are refused."""
        self.over.set()
        with suppress(OSError):  # close() alone does not wake a thread in accept()
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        scheme = "https" if self.context else "http"
        return f"{scheme}://{host}:{self.port}{path}"

    def _start(self, work: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                peer = self._listener.accept()[0]
                self.connections += 1  # before it is answered: tests look right after the answer
                self._start(self._take, peer)

    def _take(self, peer: socket.socket) -> None:
        with suppress(OSError), peer:
            if self.context:
                peer = self.context.wrap_socket(peer, server_side=True)
            self._peers.append(peer)
            peer.sendall(self.greeting)
            with peer, peer.makefile("rb") as stream:
                while self._answer_one(peer, stream) and self.keeps_connections:
                    pass

    def _answer_one(self, peer: socket.socket, stream: BufferedReader) -> bool:
        """Whether there was a whole request."""
        line = stream.readline().decode().strip()
        if not line:
            return False
        headers = {}
        while header := stream.readline().decode().strip():
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", 0))
        body = stream.read(length)
        if len(body) < length:
            return False  # the sender was killed while it was sending
        self.requests.append(Request(line, headers, body))
        self.answer(peer)
        return True


def stays_silent(receiver: Receiver) -> Answer:
    """No response at all until the receiver is closed."""

    def wait(peer: socket.socket) -> None:
        receiver.over.wait(60)

    return wait
