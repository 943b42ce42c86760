"""The server, with one persistent connection per thread."""

from __future__ import annotations

import threading
from typing import Any

from clevagent.transport import Answer, Transport, UnreachableError

# Seconds for each step of a request. Waiting longer would delay the other reports.
REQUEST_TIMEOUT = 10.0


class Server:
    """`ask` returns None without an answer; `problem` then says why, to the same thread."""

    def __init__(self, endpoint: str, api_key: str, name: str) -> None:
        self._settings = endpoint, api_key, {"X-ClevAgent-Runner": name}
        self._mine = threading.local()

    @property
    def problem(self) -> str:
        return getattr(self._mine, "problem", "")

    def ask(self, method: str, path: str, body: Any | None = None) -> Answer | None:
        """Return the answer, or None if the server is unreachable."""
        if not hasattr(self._mine, "transport"):
            endpoint, key, headers = self._settings
            self._mine.transport = Transport(endpoint, key, timeout=REQUEST_TIMEOUT, headers=headers)
        try:
            answer: Answer = self._mine.transport.request(method, path, body)
        except UnreachableError as error:
            self._mine.problem = str(error)
            return None
        self._mine.problem = ""
        return answer

    def close(self) -> None:
        """Close the calling thread's connection."""
        if hasattr(self._mine, "transport"):
            self._mine.transport.close()
