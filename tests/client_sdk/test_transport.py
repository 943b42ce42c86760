"""Requests, answers and everything that can go wrong in between."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from clevagent.testing import FakeServer
from clevagent.transport import Answer, Transport, UnreachableError, host_header, parse_endpoint, parse_retry_after


@pytest.mark.parametrize(
    ("endpoint", "base"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://host/", "https://host"),
        (" https://host/api/v1 ", "https://host"),
        ("https://host/api/v1/heartbeat", "https://host"),
        ("https://host/below/api/v1/", "https://host/below"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_endpoint_formats(endpoint: str, base: str) -> None:
    assert parse_endpoint(endpoint).geturl() == base


@pytest.mark.parametrize("endpoint", ["", "host:8000", "ftp://host", "http://", "http://host:port"])
def test_invalid_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_endpoint(endpoint)


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("99999", 3600.0), ("soon", None), (None, None)]
)
def test_retry_after_is_at_most_an_hour(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header) == seconds


@pytest.mark.parametrize("key", ["cv_a\r\nX-Other: 1", "cv_\N{SNOWMAN}"])
def test_key_with_line_break_is_never_sent(server: FakeServer, key: str) -> None:
    with pytest.raises(ValueError, match="The API key contains") as refused:
        Transport(server.url, key)
    assert key[:4] not in str(refused.value)


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("http://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example:8000", "xn--bcher-kva.example:8000"),
        ("http://user:word@[::1]:8000", "[::1]:8000"),
        ("https://watchdog.example.com/below", "watchdog.example.com"),
    ],
)
def test_host_header_is_ascii(endpoint: str, host: str) -> None:
    assert host_header(parse_endpoint(endpoint)) == host


def test_connection_is_reused(server: FakeServer) -> None:
    transport = Transport(server.url, server.key)
    assert [transport.request("GET", "/commands").body for _ in range(3)] == [[], [], []]
    first = transport._connection
    transport.request("GET", "/status")
    assert transport._connection is first
    transport.close()


def test_closed_connection_is_reopened(server: FakeServer) -> None:
    transport = Transport(server.url, server.key)
    transport.request("GET", "/commands")
    assert transport._connection
    assert transport._connection.sock
    transport._connection.sock.shutdown(socket.SHUT_RDWR)
    assert transport.request("POST", "/heartbeat", {"agent": "bot", "beat_id": "1"}).accepted
    transport.close()


def test_server_error_message_is_used(server: FakeServer) -> None:
    with_wrong_key = Transport(server.url, "cv_wrong")
    answer = with_wrong_key.request("GET", "/status")
    with_wrong_key.close()
    assert (answer.status, answer.why) == (401, "401: The API key is missing or unknown.")
    assert Answer(502, "<html>").why == "HTTP status 502"
    assert answer.served_at == pytest.approx(time.time(), abs=5)


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that handles each connection with `answer`."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(60)


def garbage(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")


def cut_off(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")


def goes_away(connection: socket.socket) -> None:
    connection.recv(1000)


def hangs(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.settimeout(5)
    connection.recv(1000)


@pytest.mark.parametrize("trouble", [garbage, cut_off, goes_away, hangs])
def test_failures_are_unreachable(trouble: Callable[[socket.socket], None]) -> None:
    with listening(trouble) as url:
        transport = Transport(url, "k", timeout=0.2)
        with pytest.raises(UnreachableError):
            transport.request("POST", "/heartbeat", {})


def test_huge_foreign_page_is_not_read_fully() -> None:
    def page(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99000000\r\n\r\n" + b"<" * 5_000_000)

    with listening(page) as url:
        assert Transport(url, "k").request("GET", "/status").body is None


def test_https_uses_the_proxy_unless_excluded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def proxy(connection: socket.socket) -> None:
        asked.append(connection.recv(1000))
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    with listening(proxy) as url:
        monkeypatch.setenv("HTTPS_PROXY", url.replace("http://", "http://me:word@"))
        with pytest.raises(UnreachableError, match="403"):
            Transport("https://watchdog.example.com", "k").request("GET", "/status")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with pytest.raises(UnreachableError):
            Transport("https://127.0.0.1:9", "k").request("GET", "/status")
    assert len(asked) == 1
    assert asked[0].startswith(b"CONNECT watchdog.example.com:443 HTTP/1.")
    assert b"Proxy-Authorization: Basic bWU6d29yZA==" in asked[0]


def test_untrusted_certificate_is_refused(tmp_path: object) -> None:
    with listening(garbage) as url, pytest.raises(UnreachableError) as caught:
        Transport(url.replace("http://", "https://"), "k", timeout=2).request("GET", "/status")
    assert isinstance(caught.value.__cause__, (ssl.SSLError, OSError))
