"""The one guarded way out: every channel that speaks HTTP posts through here.

The name is resolved once, the addresses it gives are judged, and the connection goes to exactly such an address; the
connected socket is judged again. No redirects, no proxies, a limit on time and size. Errors name the host and nothing
else of the address, because the rest often holds a secret.
"""

from __future__ import annotations

import io
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from ipaddress import IPv4Network, IPv6Network, ip_address
from time import monotonic
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import certifi
from django.conf import settings

from alerts.channels.base import ChannelError, ConfigError

CONNECT_SECONDS: Final = 5.0
TOTAL_SECONDS = 10.0
MOST_BYTES: Final = 64 * 1024
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
USER_AGENT: Final = "ClevAgent-Watchdog/1"

_CLOSED_V4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # a cloud's own service, reachable from its guests only
    )
)  # fmt: skip
# Public IPv6 is one block; mapped, NAT64, local and multicast forms all lie outside it.
_OPEN_V6: Final = IPv6Network("2000::/3")
_CLOSED_V6: Final = tuple(IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `retry_after` is in seconds. The body is cut at 64 KiB, or where the time ran out."""

    status: int
    body: bytes
    retry_after: float | None


def check_url(url: str) -> SplitResult:
    """The parts of an address that may be posted to. Raises `ConfigError`; looks nothing up."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError("url", "This is not a valid address.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ConfigError("url", "The address must begin with https:// or http:// and name a host.")
    if parts.username is not None or parts.password is not None:
        raise ConfigError("url", "The address must not hold a user name or password.")
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > 2000:
        raise ConfigError("url", "The address must be plain ASCII without spaces, at most 2,000 characters.")
    if not settings.ALLOW_PRIVATE_TARGETS and not _may_name(parts.hostname):
        raise ConfigError("url", "The address must be public; this server does not post to private addresses.")
    return parts


def _may_name(host: str) -> bool:
    try:
        return is_public(host)
    except ValueError:
        return host != "localhost" and not host.endswith(".localhost")


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the open internet. Raises ValueError for anything else than an address."""
    ip = ip_address(address)
    if ip.version == 4:
        return not any(ip in network for network in _CLOSED_V4)
    return ip in _OPEN_V6 and not any(ip in network for network in _CLOSED_V6)


def post(url: str, body: bytes, headers: Mapping[str, str], *, seconds: float | None = None) -> Reply:
    """POST and return whatever was answered, redirects too. Raises `ChannelError` when there was no answer."""
    try:
        parts = check_url(url)
    except ConfigError as error:
        raise ChannelError(str(error), permanent=True) from None
    host = parts.hostname or ""
    try:
        return _exchange(parts, body, {"User-Agent": USER_AGENT, **headers}, Deadline(seconds or TOTAL_SECONDS))
    except (OSError, HTTPException) as error:
        raise ChannelError(_explain(host, error)) from None


def _exchange(parts: SplitResult, body: bytes, headers: Mapping[str, str], deadline: Deadline) -> Reply:
    host, port = parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]
    with closing(_open(host, port, parts.scheme == "https", deadline)) as raw:
        connection = HTTPConnection(host, port)
        connection.default_port = _DEFAULT_PORTS[parts.scheme]  # left out of the Host header
        connection.sock = _Timed(raw, deadline)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, {"Connection": "close", **headers})
        return _read(connection.getresponse())


def describe(reply: Reply) -> str:
    """An answer that was not what we hoped for, in words."""
    if 300 <= reply.status < 400:
        return f"The receiver answered with a redirect ({reply.status}). Enter the final address instead."
    return f"The receiver answered {reply.status}."


def _read(response: HTTPResponse) -> Reply:
    """The status is the answer; a body that stalls or breaks off does not take it back."""
    body = bytearray()
    try:
        while len(body) < MOST_BYTES and (piece := response.read1(MOST_BYTES - len(body))):
            body += piece
    except (OSError, HTTPException):
        pass
    return Reply(response.status, bytes(body), seconds_of(response.getheader("Retry-After"), datetime.now(UTC)))


def seconds_of(value: str | None, now: datetime) -> float | None:
    """`Retry-After` holds seconds or a date."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())


def _explain(host: str, error: Exception) -> str:
    match error:
        case _ClosedError():
            return f"{host} leads to a private address; this server does not post to those."
        case TimeoutError():
            return f"{host} did not answer in time."
        case socket.gaierror() | UnicodeError():
            return f"The name {host} could not be found."
        case ssl.SSLCertVerificationError():
            return f"The certificate of {host} is not valid: {error.verify_message}."
        case ssl.SSLError():
            return f"No secure connection to {host} could be made."
        case ConnectionRefusedError():
            return f"{host} refused the connection."
        case ConnectionError():
            return f"{host} closed the connection without an answer."
        case HTTPException():
            return f"{host} answered with something that is not HTTP."
    return f"{host} cannot be reached."


class _ClosedError(OSError):
    """Every address the name gives is closed to us."""


class Deadline:
    """One allowance of time for all steps of a request, so that a dripping peer cannot stretch it."""

    def __init__(self, seconds: float) -> None:
        self._at = monotonic() + seconds

    def left(self) -> float:
        """Seconds that remain. Raises TimeoutError when there are none."""
        remaining = self._at - monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining


def _open(host: str, port: int, tls: bool, deadline: Deadline) -> socket.socket:
    raw = _dial(host, port, deadline)
    if not tls:
        return raw
    try:
        raw.settimeout(deadline.left())
        return tls_context().wrap_socket(raw, server_hostname=host)
    except BaseException:
        raw.close()
        raise


def _dial(host: str, port: int, deadline: Deadline) -> socket.socket:
    """Connect to the first judged address that takes the call."""
    problem: OSError = _ClosedError()
    for family, kind, protocol, _, address in lookup(host, port, deadline):
        if not _allowed(address[0]):
            continue
        raw = socket.socket(family, kind, protocol)
        try:
            raw.settimeout(min(deadline.left(), CONNECT_SECONDS))
            raw.connect(address)
            if _allowed(raw.getpeername()[0]):
                return raw
        except OSError as error:
            problem = error
        raw.close()
    raise problem


def _allowed(address: str) -> bool:
    return settings.ALLOW_PRIVATE_TARGETS or is_public(address)


def lookup(host: str, port: int, deadline: Deadline) -> list[Any]:
    """Resolve a name within the deadline; the system's resolver has a patience of its own, so it gets a thread."""
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(resolve(host, port))
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(min(deadline.left(), CONNECT_SECONDS))
    if not found:
        raise TimeoutError
    if isinstance(found[0], UnicodeError):
        raise socket.gaierror
    if isinstance(found[0], Exception):
        raise found[0]
    return list(found[0])


def resolve(host: str, port: int) -> list[Any]:
    """The addresses of a name; tests put their own resolver here."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


@cache
def tls_context() -> ssl.SSLContext:
    """Verifies against the system's authorities, and those certifi brings where the system has none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class _Timed(io.RawIOBase):
    """What http.client needs of a socket; every single operation is given only what is left of the time."""

    def __init__(self, raw: socket.socket, deadline: Deadline) -> None:
        self._raw = raw
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._raw.settimeout(self._deadline.left())
        return self._raw.recv_into(buffer)

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self._raw.settimeout(self._deadline.left())
            view = view[self._raw.send(view) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def close(self) -> None:
        """Nothing: http.client closes before the answer is read. The socket ends with `_exchange`."""
