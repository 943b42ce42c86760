"""https://github.com/getsentry/sentry-python/issues/2457

While the server is away nothing tells a program that its messages were not sent.
"""

from __future__ import annotations

import clevagent
import pytest
from clevagent.testing import FakeServer


def test_flush_tells_what_the_server_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clevagent, "_has_sent_all", True)
    with FakeServer() as server:
        clevagent.init(server.key, "bot", endpoint=server.url, auto_cost=False, spool=False)
        assert clevagent.flush() is True
        server.status = 503
        clevagent.ping(message="lost?")
        assert clevagent.flush(0.5) is False
        server.status = 200
        assert clevagent.flush() is True
        clevagent.shutdown()
