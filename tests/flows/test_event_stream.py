"""The event stream of a running installation: two clients, a restart of one, and a shutdown with both connected."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.flows.installation import PATIENCE, Installation, wait_until
from tests.live import create_project

pytestmark = [pytest.mark.live, pytest.mark.sqlite]


class Listener:
    """Reads a stream line by line in a thread."""

    def __init__(self, site: Installation, key: str, query: str = "", last: str = "") -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=120)
        self.connection.request("GET", f"/api/v1/events{query}", headers={"X-API-Key": key, "Last-Event-ID": last})
        self.response = self.connection.getresponse()
        assert self.response.status == 200
        self.lines: list[str] = []
        # Whether the server ended it properly; a stream that is cut off has no last chunk.
        self.has_ended = False
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException, AttributeError):
            for line in self.response:
                self.lines.append(line.decode().rstrip("\n"))
            self.has_ended = True

    def values(self, name: str) -> list[str]:
        return [line.removeprefix(f"{name}: ") for line in list(self.lines) if line.startswith(f"{name}: ")]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(PATIENCE)
        self.response.close()
        self.connection.close()


@pytest.fixture
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("events") / "data")
    try:
        yield installation.start()
    finally:
        installation.stop()


def test_two_clients_follow_an_agent(running: Installation) -> None:
    key = create_project(running, "owner@localhost", "full", "My team", "Production")["api_key"]
    assert running.beat(key, agent="bot", status="ok")[0] == 200
    both, one = Listener(running, key), Listener(running, key, "?agent=bot")
    wait_until(lambda: both.values("retry") and one.values("retry"), "both streams have begun")
    running.beat(key, agent="other", status="error", message="CRASH: no disk")
    running.beat(key, agent="bot", status="error", message="CRASH: no disk")
    wait_until(lambda: both.values("event").count("incident.opened") == 2, "both incidents on the first stream")
    wait_until(lambda: "incident.opened" in one.values("event"), "the agent's incident on the second stream")
    assert not [text for text in one.values("data") if '"other"' in text]
    last = one.values("id")[-1]
    one.close()
    running.beat(key, agent="bot", status="ok", message="back")
    wait_until(lambda: "incident.resolved" in both.values("event"), "the recovery on the first stream")
    resumed = Listener(running, key, "?agent=bot", last)
    wait_until(lambda: "incident.resolved" in resumed.values("event"), "the recovery on the resumed stream")
    assert not set(resumed.values("id")) & set(one.values("id"))
    # A server that waited for them would be killed, and they would be cut off.
    running.stop()
    for listener in (both, resumed):
        listener.thread.join(PATIENCE)
        assert listener.has_ended
        listener.close()
