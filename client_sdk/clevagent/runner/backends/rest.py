"""A single JSON request over HTTP, for backends that use an API. Problems are returned, never raised."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Limits memory. No real answer is this long.
MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_TEXT_LENGTH = 200


@dataclass(frozen=True)
class Reply:
    """`status` is 0 without an answer; `problem` is the error message.

    `body` is decoded JSON, or None; the names in `headers` are in lower case.
    """

    status: int
    body: Any = None
    problem: str = ""
    text: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300

    @property
    def fields(self) -> dict[str, Any]:
        """The body as an object, empty if it is not one."""
        return self.body if isinstance(self.body, dict) else {}


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request and close the connection. The connection's timeout applies to each step."""
    data = None if body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, data, dict(headers or {}))
        response = connection.getresponse()
        text = response.read(MAX_ANSWER_BYTES)
    except socket.timeout:
        return Reply(0, problem=f"no answer within {connection.timeout:g} s")
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Reply(0, problem=(getattr(error, "strerror", None) or str(error) or type(error).__name__))
    finally:
        connection.close()
    return _reply(response.status, text, {name.lower(): value for name, value in response.getheaders()})


def _reply(status: int, text: bytes, headers: Mapping[str, str]) -> Reply:
    try:
        body = json.loads(text) if text.strip() else None
    except ValueError:
        return Reply(status, None, f"HTTP status {status} without JSON", text, headers)
    message = body.get("message") if isinstance(body, dict) else None
    words = " ".join(str(message).split())[:MAX_TEXT_LENGTH] if message else f"HTTP status {status}"
    return Reply(status, body, words, text, headers)
