"""Requests to the server over one persistent connection.

https addresses go through `HTTPS_PROXY`, unless `NO_PROXY` excludes them.
"""

from __future__ import annotations

import codecs
import http.client
import json
import math
import os
import socket
from collections.abc import Mapping
from email.utils import mktime_tz, parsedate_tz
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

from clevagent.redact import redacted, text_of
from clevagent.version import AGENT

# The first connection imports this codec. A fork at that moment would leave the child with a half-imported module and a
# thread that waits for it forever.
codecs.lookup("idna")

API = "/api/v1"
# What a header and a path may contain unescaped: printable ASCII.
PLAIN = "".join(map(chr, range(0x20, 0x7F)))
KEY_LENGTH = 43
KEY_LETTERS = frozenset(PLAIN) - {" "}
WRAPPING = " \t\r\n\v\f\u00a0\u200b\ufeff\"'`“”‘’"
# Of values that JSON has no type for: their levels, and the characters of their text.
MAX_DEPTH, MAX_TEXT = 20, 1_000
# Limits the memory that a foreign page can take up. Real answers are far smaller.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
# Seconds. Longer `Retry-After` values are cut to this.
MAX_RETRY_AFTER = 3600.0


class UnreachableError(OSError):
    """No answer: refused, timed out, interrupted or not HTTP.

    `needs_fix` means that waiting will not help: a setting on this machine is wrong, or the certificate is not trusted.
    """

    def __init__(self, why: str, *, needs_fix: bool = False) -> None:
        super().__init__(why)
        self.needs_fix = needs_fix


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
    def message(self) -> str:
        """The server's error message, or nothing."""
        error = self.body.get("error") if isinstance(self.body, dict) else None
        return str(error.get("message") or "") if isinstance(error, dict) else ""

    @property
    def why(self) -> str:
        """The status code, and the server's error message if there is one."""
        return f"{self.status}: {self.message}" if self.message else f"HTTP status {self.status}"


class Transport:
    """Sends requests to `/api/v1` of one server. Use it from one thread at a time.

    `endpoint` is the server's address, with or without `/api/v1` or `/api/v1/heartbeat`. `timeout` is in seconds and
    applies separately to connecting, sending and reading.
    Raises ValueError if the endpoint is not an http or https address, or the key cannot be one.
    """

    def __init__(
        self, endpoint: str, api_key: str, *, timeout: float = 10.0, headers: Mapping[str, str] | None = None
    ) -> None:
        self._url = parse_endpoint(endpoint)
        self._timeout = timeout
        self._headers = {
            "X-API-Key": parse_key(api_key),
            "Content-Type": "application/json",
            "User-Agent": AGENT,
            **{name: quote(value, safe=PLAIN) for name, value in (headers or {}).items()},
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
                raise _unreachable(error) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise _unreachable(error) from error
        try:
            return self._ask(method, path, data)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise _unreachable(error) from error

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
        lines = [f"{method} {self._url.path}{API}{path} HTTP/1.1", f"Host: {host_header(self._url)}"]
        lines += [f"{name}: {value}" for name, value in self._headers.items()]
        if data is not None:
            lines.append(f"Content-Length: {len(data)}")
        return "\r\n".join([*lines, "Accept-Encoding: identity", "", ""]).encode("ascii")

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


def parse_key(key: str) -> str:
    """Return the API key without white space, quotes and byte order marks around it.

    Raises ValueError if it cannot be a key, with a message that does not contain it.
    """
    kept = _unwrapped(key)
    wrong = next((letter for letter in kept if letter not in KEY_LETTERS), None)
    if not kept or wrong is not None:
        why = "is empty" if wrong is None else f"contains {_spoken(wrong)}"
        message = f"The API key {why}. Copy it again: cv_ and 40 letters and digits."
        raise ValueError(message)
    return kept


def key_hint(key: str) -> str:
    """What is unusual about a refused key, or nothing."""
    expected = len(key) == KEY_LENGTH and key.startswith("cv_")
    return "" if expected else f" A key is cv_ and 40 letters and digits; this one has {len(key)} characters."


def parse_endpoint(endpoint: str) -> SplitResult:
    """Return the server's address without the API path. Raises ValueError unless it is http or https."""
    try:
        return _parsed_endpoint(_unwrapped(endpoint))
    except ValueError as error:  # also UnicodeError, for a host that no name server could know
        # Someone may have pasted the key, or the address may contain a password.
        shown = redacted(endpoint.strip())
        message = (
            f"The endpoint {shown!r} is not an address ({error}); write it as http://127.0.0.1:8000 or https://host."
        )
        raise ValueError(message) from None


def _parsed_endpoint(endpoint: str) -> SplitResult:
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.hostname:
        message = "it must begin with http:// or https:// and a host"
        raise ValueError(message)
    if any(letter.isspace() or not letter.isprintable() for letter in endpoint):
        message = "it contains white space"
        raise ValueError(message)
    if url.port == 0:
        message = "the port must be from 1 to 65535"
        raise ValueError(message)
    url.hostname.encode("idna")
    path = quote(url.path.rstrip("/"), safe=PLAIN)
    for ending in ("/heartbeat", API):
        path = path[: -len(ending)] if path.endswith(ending) else path
    return url._replace(path=path, query="", fragment="")


def exposure(endpoint: str) -> str:
    """What is wrong with sending a key to this address, or nothing. Within a machine nobody can listen."""
    url = urlsplit(endpoint)
    host = url.hostname or ""
    if url.scheme != "http" or _is_this_machine(host):
        return ""
    return f"The API key and all reports travel unencrypted to {host}; use an https:// address."


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _unwrapped(text: str) -> str:
    """Without what files, shells and web pages leave around a value."""
    return text.strip(WRAPPING)


def _spoken(letter: str) -> str:
    names = {"\n": "a line break", "\r": "a line break", " ": "a space", "\t": "a tab"}
    return names.get(letter) or f"the character U+{ord(letter):04X}"


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
    """Return the body as JSON. What JSON cannot say becomes null or text, so that the rest arrives."""
    try:
        text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps(_plain(body), separators=(",", ":"), allow_nan=False)
    return text.encode()


def _plain(value: Any, depth: int = 0) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth < MAX_DEPTH and isinstance(value, Mapping):
        return {text_of(name): _plain(part, depth + 1) for name, part in value.items()}
    if depth < MAX_DEPTH and isinstance(value, (list, tuple)):
        return [_plain(part, depth + 1) for part in value]
    return text_of(value)[:MAX_TEXT]


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


def _unreachable(error: Exception) -> UnreachableError:
    needs_fix = isinstance(error, ValueError) or type(error).__name__ == "SSLCertVerificationError"
    return UnreachableError(_why(error), needs_fix=needs_fix)


def _why(error: Exception) -> str:
    if isinstance(error, socket.timeout):
        return "no answer in time"
    return str(error) or type(error).__name__
