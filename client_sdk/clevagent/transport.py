"""One request to the server and its answer, over one connection that is kept.

An https address is reached through `HTTPS_PROXY` where the environment names one and `NO_PROXY` does not except it.
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

# Sockets import it at the first connection. A program that forks in that moment leaves the child a module that never
# finishes, and a thread that waits for it for ever.
codecs.lookup("idna")

API = "/api/v1"
# A stranger's page instead of an answer must not fill the agent's memory; an answer of ours is far smaller.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
# The contract's smallest and a client's largest patience with a `Retry-After`, in seconds.
MAX_RETRY_AFTER = 3600.0


class Unreachable(OSError):  # noqa: N818 - a state of the server, not a fault of the program
    """There was no answer: refused, timed out, broken off, or not HTTP."""


class Answer(NamedTuple):
    """`body` is decoded JSON, None when it is not JSON; `retry_after` is in seconds, None when none was named.

    `date` is the `Date` header.
    """

    status: int
    body: Any = None
    retry_after: float | None = None
    date: str | None = None

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may be accepted later."""
        return self.status in (408, 425, 429) or self.status >= 500

    @property
    def served_at(self) -> float | None:
        """The server's clock as it answered, in whole seconds since 1970; None when it did not say."""
        parts = parsedate_tz(self.date or "")
        return float(mktime_tz(parts)) if parts else None

    @property
    def why(self) -> str:
        """The server's own sentence, or the bare status."""
        error = self.body.get("error") if isinstance(self.body, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        return f"{self.status}: {message}" if message else f"HTTP status {self.status}"


class Transport:
    """Requests below `/api/v1` of one server. For one thread at a time.

    `endpoint` is the server's address; one that ends in `/api/v1` or `/api/v1/heartbeat` is taken, too.
    `timeout` is in seconds and holds for each step: to connect, to send, to read.
    Raises ValueError for an endpoint that is not an http or https address.
    """

    def __init__(
        self, endpoint: str, api_key: str, *, timeout: float = 10.0, headers: Mapping[str, str] | None = None
    ) -> None:
        self._url = base_of(endpoint)
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
        """The answer to one request; `path` is below `/api/v1`, `body` becomes JSON.

        Raises Unreachable when there was none. Whether the server has read the request is then not known.
        """
        data = None if body is None else encode(body)
        # A kept connection may have been closed by the server since: that says nothing, so a new one is tried.
        kept = self._connection is not None
        try:
            return self._ask(method, path, data)
        except (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected) as error:
            self.close()
            if not kept:
                raise Unreachable(_why(error)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise Unreachable(_why(error)) from error
        try:
            return self._ask(method, path, data)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise Unreachable(_why(error)) from error

    def limit(self, seconds: float) -> None:
        """Let no request from now on take longer than this: connecting, sending and reading get a third each."""
        self._timeout = min(self._timeout, seconds / 3)
        if self._connection is not None and self._connection.sock is not None:
            self._connection.sock.settimeout(self._timeout)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def forget(self) -> None:
        """In a forked child: let go of the parent's connection, which goes on there.

        Only its descriptor is closed: what reads from it has locks that may be held for ever.
        """
        connection, self._connection = self._connection, None
        if connection is not None and connection.sock is not None:
            os.close(connection.sock.detach())

    def _head(self, method: str, path: str, data: bytes | None) -> bytes:
        """Raises ValueError for a header that HTTP cannot carry."""
        lines = [f"{method} {self._url.path}{API}{path} HTTP/1.1", f"Host: {host_of(self._url)}"]
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
        # In one packet; http.client sends two, and its way to a header is felt in `bench/sdk.py`.
        self._connection.sock.sendall(self._head(method, path, data) + (data or b""))
        response = http.client.HTTPResponse(self._connection.sock, method=method)
        response.begin()
        text = response.read(MAX_ANSWER_BYTES + 1)
        if response.length and len(text) <= MAX_ANSWER_BYTES:
            raise http.client.IncompleteRead(text, response.length)
        if response.will_close or len(text) > MAX_ANSWER_BYTES:
            self.close()
        waits, date = response.getheader("Retry-After"), response.getheader("Date")
        return Answer(response.status, decoded(text), seconds_of(waits), date)


def base_of(endpoint: str) -> SplitResult:
    """The server's address without the API's path. Raises ValueError for what is no http or https address."""
    url = urlsplit(endpoint.strip())
    if url.scheme not in ("http", "https") or not url.hostname:
        message = f"The endpoint {endpoint!r} is not an address; write it as http://127.0.0.1:8000 or https://host."
        raise ValueError(message)
    url.port  # noqa: B018 - raises ValueError when it is no number
    path = url.path.rstrip("/")
    for ending in ("/heartbeat", API):
        path = path[: -len(ending)] if path.endswith(ending) else path
    return url._replace(path=path, query="", fragment="")


def host_of(url: SplitResult) -> str:
    """With its port; letters that DNS does not know as DNS has them."""
    place = url.netloc.rpartition("@")[2]
    return place if place.isascii() else place.encode("idna").decode()


def connect(url: SplitResult, timeout: float) -> http.client.HTTPConnection:
    """A connection to the server, through the environment's proxy when there is one for it."""
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


def seconds_of(retry_after: str | None) -> float | None:
    """`Retry-After` in seconds, at most an hour; an HTTP date is not read, since clocks differ."""
    try:
        return min(max(0.0, float(retry_after or "")), MAX_RETRY_AFTER)
    except ValueError:
        return None


def _why(error: Exception) -> str:
    if isinstance(error, socket.timeout):
        return "no answer in time"
    return str(error) or type(error).__name__
