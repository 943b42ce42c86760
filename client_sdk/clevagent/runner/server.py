"""The server as the runner's threads see it: one kept connection for each of them."""

from __future__ import annotations

import threading
from typing import Any

from clevagent.transport import Answer, Transport, Unreachable

# Seconds for each step of a request; a runner that waits longer would be late with its other reports.
PATIENCE = 10.0


class Server:
    """`ask` answers None when there was no answer at all; then `trouble` says why, to the same thread."""

    def __init__(self, endpoint: str, api_key: str, name: str) -> None:
        self._settings = endpoint, api_key, {"X-ClevAgent-Runner": name}
        self._mine = threading.local()

    @property
    def trouble(self) -> str:
        return getattr(self._mine, "trouble", "")

    def ask(self, method: str, path: str, body: Any | None = None) -> Answer | None:
        """The answer, or None when the server could not be reached."""
        if not hasattr(self._mine, "transport"):
            endpoint, key, headers = self._settings
            self._mine.transport = Transport(endpoint, key, timeout=PATIENCE, headers=headers)
        try:
            answer: Answer = self._mine.transport.request(method, path, body)
        except Unreachable as error:
            self._mine.trouble = str(error)
            return None
        self._mine.trouble = ""
        return answer

    def close(self) -> None:
        """Close the connection of the thread that calls."""
        if hasattr(self._mine, "transport"):
            self._mine.transport.close()
