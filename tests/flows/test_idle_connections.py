"""Clients that connect and then say little or nothing take no thread and so nothing from others."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.flows.installation import Installation

pytestmark = [pytest.mark.live, pytest.mark.sqlite]

COUNT = 200
HEAD = "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\n"
IDLE = {
    "chunked without end": HEAD + 'Transfer-Encoding: chunked\r\n\r\n6\r\n{{"a": \r\n',
    "half a body": HEAD + 'Content-Length: 100\r\n\r\n{{"a": ',
    "half the headers": HEAD,
    "nothing": "",
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("idle") / "data")
    try:
        yield installation.start()
    finally:
        installation.stop()


@pytest.mark.parametrize("path", ["/api/v1/heartbeat", "/accounts/login/"])
@pytest.mark.parametrize("text", IDLE.values(), ids=IDLE.keys())
def test_idle_connections_block_nobody(running: Installation, path: str, text: str) -> None:
    with ExitStack() as stack:
        for _ in range(COUNT):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", running.port), 30))
            connection.sendall(text.format(path=path, key=running.key).encode())
        with urllib.request.urlopen(f"{running.url}/accounts/login/", timeout=30) as page:
            assert page.status == 200
        assert heartbeat(running)["status"] == "ok"


def heartbeat(running: Installation) -> dict[str, object]:
    headers = {"X-API-Key": running.key, "Content-Type": "application/json"}
    body = json.dumps({"agent": "bot", "status": "ok"}).encode()
    request = urllib.request.Request(f"{running.url}/api/v1/heartbeat", body, headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, object] = json.load(response)
    return answer


def test_chunked_form_reaches_the_page(running: Installation) -> None:
    """The pages' server gets the whole body and its length, whatever framing the client chose."""
    form = b"login=a%40example.com"
    head = b"POST /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    chunks = b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(form), form)
    with socket.create_connection(("127.0.0.1", running.port), 30) as connection:
        connection.sendall(head + chunks)
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 403")  # without a CSRF token, but read
