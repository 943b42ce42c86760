"""Requests to the server over one persistent connection.

https addresses go through `HTTPS_PROXY`, unless `NO_PROXY` excludes them.
"""

from __future__ import annotations

import codecs
import http.client
import json
import os
import socket
from collections.abc import Mapping
from email.utils import mktime_tz, parsedate_tz
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from clevagent.version import AGENT

# The first connection imports this codec. A fork at that moment would leave the child with a half-imported module and a
# thread that waits for it forever.
codecs.lookup("idna")

API = "/api/v1"
# Limits the memory that a foreign page can take up. Real answers are far smaller.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
# Seconds. Longer `Retry-After` values are cut to this.
MAX_RETRY_AFTER = 3600.0


class UnreachableError(OSError):
    """No answer: refused, timed out, interrupted or not HTTP."""


class Answer(NamedTuple):
    """`body` is the decoded JSON, or None; `retry_after` is in seconds, or None; `date` is the `Date` header."""

    status: int
    body: Any = None
    retry_after: float | None = None
    date: str | None = None

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in (408, 425, 429) or self.status >= 500

    @property
    def served_at(self) -> float | None:
        """The server's clock at the time of the answer, in whole seconds since 1970, or None."""
        parts = parsedate_tz(self.date or "")
        return float(mktime_tz(parts)) if parts else None

    @property
    def why(self) -> str:
        """The server's error message, or the status code."""
        error = self.body.get("error") if isinstance(self.body, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        return f"{self.status}: {message}" if message else f"HTTP status {self.status}"


class Transport:
    """Sends requests to `/api/v1` of one server. Use it from one thread at a time.

    `endpoint` is the server's address, with or without `/api/v1` or `/api/v1/heartbeat`. `timeout` is in seconds and
    applies separately to connecting, sending and reading.
    Raises ValueError if the endpoint is not an http or https address.
    """

    def __init__(
        self, endpoint: str, api_key: str, *, timeout: float = 10.0, headers: Mapping[str, str] | None = None
    ) -> None:
        self._url = parse_endpoint(endpoint)
        self._timeout = timeout
        self._headers = {
            "X-API-Key": api_key,
            "Content-Type": "application/json",
            "User-Agent": AGENT,
            **(headers or {}),
        }
        self._connection: http.client.HTTPConnection | None = None

    @property
    def address(self) -> str:
        return self._url.geturl()

    def request(self, method: str, path: str, body: Any | None = None) -> Answer:
        """Send one request and return the answer; `path` is relative to `/api/v1`, `body` is sent as JSON.

        Raises UnreachableError without an answer; the server may have processed the request anyway.
        """
        data = None if body is None else encode(body)
        # The server may have closed the idle connection. That is normal, so try once more with a new one.
        kept = self._connection is not None
        try:
            return self._ask(method, path, data)
        except (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected) as error:
            self.close()
            if not kept:
                raise UnreachableError(_why(error)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise UnreachableError(_why(error)) from error
        try:
            return self._ask(method, path, data)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise UnreachableError(_why(error)) from error

    def limit(self, seconds: float) -> None:
        """Limit the duration of every further request: a third each for connecting, sending and reading."""
        self._timeout = min(self._timeout, seconds / 3)
        if self._connection is not None and self._connection.sock is not None:
            self._connection.sock.settimeout(self._timeout)

    def close(self) -> None:
        """Close the connection. The next request opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def detach(self) -> None:
        """Drop the connection in a forked child without closing the parent's.

        Closes only the descriptor, because the reader on top of it may hold a copied lock forever.
        """
        connection, self._connection = self._connection, None
        if connection is not None and connection.sock is not None:
            os.close(connection.sock.detach())

    def _head(self, method: str, path: str, data: bytes | None) -> bytes:
        """Raises ValueError if a header contains a line break."""
        lines = [f"{method} {self._url.path}{API}{path} HTTP/1.1", f"Host: {host_header(self._url)}"]
        lines += [f"{name}: {value}" for name, value in self._headers.items()]
        if any("\r" in line or "\n" in line for line in lines):
            message = "a header must not contain line breaks"
            raise ValueError(message)
        if data is not None:
            lines.append(f"Content-Length: {len(data)}")
        return "\r\n".join([*lines, "Accept-Encoding: identity", "", ""]).encode("latin-1")

    def _ask(self, method: str, path: str, data: bytes | None) -> Answer:
        if self._connection is None:
            self._connection = connect(self._url, self._timeout)
            self._connection.connect()
        # In one packet. http.client would send two, and its header handling shows up in `bench/sdk.py`.
        self._connection.sock.sendall(self._head(method, path, data) + (data or b""))
        response = http.client.HTTPResponse(self._connection.sock, method=method)
        response.begin()
        text = response.read(MAX_ANSWER_BYTES + 1)
        if response.length and len(text) <= MAX_ANSWER_BYTES:
            raise http.client.IncompleteRead(text, response.length)
        if response.will_close or len(text) > MAX_ANSWER_BYTES:
            self.close()
        waits, date = response.getheader("Retry-After"), response.getheader("Date")
        return Answer(response.status, decoded(text), parse_retry_after(waits), date)


def parse_endpoint(endpoint: str) -> SplitResult:
    """Return the server's address without the API path. Raises ValueError unless it is http or https."""
    url = urlsplit(endpoint.strip())
    if url.scheme not in ("http", "https") or not url.hostname:
        message = f"The endpoint {endpoint!r} is not an address; write it as http://127.0.0.1:8000 or https://host."
        raise ValueError(message)
    url.port  # noqa: B018 - raises ValueError if it is not a number
    path = url.path.rstrip("/")
    for ending in ("/heartbeat", API):
        path = path[: -len(ending)] if path.endswith(ending) else path
    return url._replace(path=path, query="", fragment="")


def host_header(url: SplitResult) -> str:
    """Return host and port, with international names in their ASCII form."""
    place = url.netloc.rpartition("@")[2]
    return place if place.isascii() else place.encode("idna").decode()


def connect(url: SplitResult, timeout: float) -> http.client.HTTPConnection:
    """Open a connection to the server, through the environment's proxy if there is one."""
    host = url.hostname or ""
    if url.scheme == "http":
        return http.client.HTTPConnection(host, url.port, timeout=timeout)
    proxy = _proxy_for(url)
    if proxy is None:
        return http.client.HTTPSConnection(host, url.port, timeout=timeout)
    connection = http.client.HTTPSConnection(proxy.hostname or "", proxy.port, timeout=timeout)
    connection.set_tunnel(host, url.port, _authorization(proxy))
    return connection


def _proxy_for(url: SplitResult) -> SplitResult | None:
    address = os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY")
    if not address:
        return None
    from urllib.request import proxy_bypass  # slow to import, and most agents need no proxy

    if proxy_bypass(url.netloc):
        return None
    return urlsplit(address if "://" in address else f"http://{address}")


def _authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    from base64 import b64encode

    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + b64encode(pair.encode()).decode()}


def encode(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


def decoded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def parse_retry_after(retry_after: str | None) -> float | None:
    """Parse `Retry-After` seconds, at most an hour. HTTP dates are ignored, because clocks differ."""
    try:
        return min(max(0.0, float(retry_after or "")), MAX_RETRY_AFTER)
    except ValueError:
        return None


def _why(error: Exception) -> str:
    if isinstance(error, socket.timeout):
        return "no answer in time"
    return str(error) or type(error).__name__
