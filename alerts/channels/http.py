"""The only way out: every channel that speaks HTTP posts through here, so no channel can be used for SSRF.

The name is resolved once, its addresses are checked, and the connection goes to exactly such an address; the connected
socket is checked again, also before a kept connection is used for another message. No redirects, no proxies, limits
on time and size. Errors name only the host, because the rest
of a URL often contains a secret.
"""

from __future__ import annotations

import io
import socket
import ssl
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from ipaddress import IPv4Network, IPv6Network, ip_address
from time import monotonic
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import certifi
import msgspec
from django.conf import settings

from alerts.channels.base import ChannelError, ConfigError
from alerts.connections import Connection, Pool, Receiver

CONNECT_SECONDS: Final = 5.0
TOTAL_SECONDS = 10.0
MAX_BODY_BYTES: Final = 64 * 1024
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
USER_AGENT: Final = "ClevAgent-Watchdog/1"
POOL: Final = Pool()

_BLOCKED_V4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # Azure's host service, reachable only from its guests
    )
)  # fmt: skip
# Public IPv6 is one block; mapped, NAT64, local and multicast addresses are all outside it.
_PUBLIC_V6: Final = IPv6Network("2000::/3")
_BLOCKED_V6: Final = tuple(IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))


@dataclass(frozen=True, slots=True)
class Reply:
    """A response. `retry_after` is in seconds. The body ends at 64 KiB, or when the time is up.

    `headers` have names in lowercase.
    """

    status: int
    body: bytes
    retry_after: float | None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent."""

    method: str
    url: SplitResult
    body: bytes
    headers: Mapping[str, str]


def check_url(url: str) -> SplitResult:
    """Split a URL that may be posted to. Raises `ConfigError`. Resolves no name."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError("url", "This is not a valid URL.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ConfigError("url", "The URL must start with https:// or http:// and name a host.")
    if parts.username is not None or parts.password is not None:
        raise ConfigError("url", "The URL must not contain a user name or password.")
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > 2000:
        raise ConfigError("url", "The URL must be plain ASCII without spaces, at most 2,000 characters.")
    if not settings.ALLOW_PRIVATE_TARGETS and not _is_public_host(parts.hostname):
        raise ConfigError("url", "The URL must be public; this server does not post to private addresses.")
    return parts


def _is_public_host(host: str) -> bool:
    try:
        return is_public(host)
    except ValueError:
        return host != "localhost" and not host.endswith(".localhost")


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet. Raises ValueError if it is not an IP address."""
    ip = ip_address(address)
    if ip.version == 4:
        return not any(ip in network for network in _BLOCKED_V4)
    return ip in _PUBLIC_V6 and not any(ip in network for network in _BLOCKED_V6)


def shortened(url: str) -> str:
    """The scheme, host and last four characters of a URL that works like a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}/…{url[-4:]}" if url else ""


def post(
    url: str, body: bytes, headers: Mapping[str, str], *, seconds: float | None = None, method: str = "POST"
) -> Reply:
    """POST, or PUT, and return the response, whatever its status. Raises `ChannelError` if there is none."""
    try:
        parts = check_url(url)
    except ConfigError as error:
        raise ChannelError(str(error), permanent=True) from None
    host = parts.hostname or ""
    try:
        request = Request(method, parts, body, {"User-Agent": USER_AGENT, **headers})
        return _exchange(request, Deadline(seconds or TOTAL_SECONDS))
    except (OSError, HTTPException) as error:
        raise ChannelError(_explain(host, error)) from None


def _exchange(request: Request, deadline: Deadline) -> Reply:
    parts = request.url
    receiver = (parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme])
    kept = _kept(receiver)
    if kept is not None:
        try:
            return _post_on(kept, request, deadline)
        except ConnectionError:
            # The receiver closed it while our request was on its way. The message keeps its ID if it arrives twice.
            pass
    return _post_on(_connect(receiver, deadline), request, deadline)


def _kept(receiver: Receiver) -> Connection | None:
    """An open connection, unless it leads where this server does not post to."""
    connection = POOL.take(receiver)
    if connection is None or _allowed(connection.address):
        return connection
    connection.close()
    return None


def _post_on(connection: Connection, request: Request, deadline: Deadline) -> Reply:
    """Post on an open connection, and keep it if the response allows that."""
    scheme, host, port = connection.receiver
    client = HTTPConnection(host, port)
    client.default_port = _DEFAULT_PORTS[scheme]  # HTTPConnection omits it from the Host header
    client.sock = _TimedSocket(connection.raw, deadline)
    target = (request.url.path or "/") + (f"?{request.url.query}" if request.url.query else "")
    is_kept = False
    try:
        client.request(request.method, target, request.body, dict(request.headers))
        response = client.getresponse()
        reply = _read(response)
        is_kept = not response.will_close and (response.isclosed() or response.length == 0)
    finally:
        if not is_kept:
            connection.close()
    if is_kept:
        POOL.give(connection)
    return reply


def describe(reply: Reply) -> str:
    """The error text for an unsuccessful response."""
    if 300 <= reply.status < 400:
        return f"The receiver answered with a redirect ({reply.status}). Enter the final URL instead."
    return f"The receiver answered {reply.status}."


def json_of(reply: Reply) -> dict[str, Any]:
    """The response's JSON object; empty if it is anything else."""
    try:
        found = msgspec.json.decode(reply.body)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _read(response: HTTPResponse) -> Reply:
    """Read the response. The status decides: a body that stalls or breaks off doesn't matter."""
    body = bytearray()
    try:
        while len(body) < MAX_BODY_BYTES and (chunk := response.read1(MAX_BODY_BYTES - len(body))):
            body += chunk
    except (OSError, HTTPException):
        pass
    wait = parse_retry_after(response.getheader("Retry-After"), datetime.now(UTC))
    return Reply(response.status, bytes(body), wait, {name.lower(): value for name, value in response.getheaders()})


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait according to a `Retry-After` header, which holds seconds or a date."""
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
        case _BlockedAddressError():
            return f"{host} resolves to a private address; this server does not post to those."
        case TimeoutError():
            return f"{host} did not answer in time."
        case socket.gaierror() | UnicodeError():
            return f"The host name {host} could not be resolved."
        case ssl.SSLCertVerificationError():
            return f"The certificate of {host} is not valid: {error.verify_message}."
        case ssl.SSLError():
            return f"The TLS connection to {host} failed."
        case ConnectionRefusedError():
            return f"{host} refused the connection."
        case ConnectionError():
            return f"{host} closed the connection without responding."
        case HTTPException():
            return f"The response of {host} was not HTTP."
    return f"{host} is unreachable."


class _BlockedAddressError(OSError):
    """The name resolves only to private addresses."""


class Deadline:
    """A time limit for a whole request, so that a peer that sends byte by byte cannot extend it."""

    def __init__(self, seconds: float) -> None:
        self._at = monotonic() + seconds

    def left(self) -> float:
        """The seconds that remain. Raises TimeoutError if none do."""
        remaining = self._at - monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining


def _connect(receiver: Receiver, deadline: Deadline) -> Connection:
    scheme, host, port = receiver
    raw = _connect_tcp(host, port, deadline)
    address = raw.getpeername()[0]
    if scheme == "http":
        return Connection(receiver, raw, address)
    try:
        raw.settimeout(deadline.left())
        return Connection(receiver, tls_context().wrap_socket(raw, server_hostname=host), address)
    except BaseException:
        raw.close()
        raise


def _connect_tcp(host: str, port: int, deadline: Deadline) -> socket.socket:
    """Connect to the first public address that accepts."""
    failure: OSError = _BlockedAddressError()
    for family, kind, protocol, _, address in lookup(host, port, deadline):
        if not _allowed(address[0]):
            continue
        raw = socket.socket(family, kind, protocol)
        try:
            raw.settimeout(min(deadline.left(), CONNECT_SECONDS))
            raw.connect(address)
            if _allowed(raw.getpeername()[0]):
                # Large requests end in a small packet that must not wait for acknowledgements (40 ms).
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return raw
        except OSError as error:
            failure = error
        raw.close()
    raise failure


def _allowed(address: str) -> bool:
    return settings.ALLOW_PRIVATE_TARGETS or is_public(address)


def lookup(host: str, port: int, deadline: Deadline) -> list[Any]:
    """Resolve a name within the deadline."""
    addresses: Future[list[Any]] = Future()

    def run() -> None:
        try:
            addresses.set_result(resolve(host, port))
        except (OSError, UnicodeError) as error:
            addresses.set_exception(error)

    # The system's resolver has timeouts of its own, so it runs in a thread that we can leave behind.
    threading.Thread(target=run, daemon=True).start()
    try:
        return addresses.result(min(deadline.left(), CONNECT_SECONDS))
    except UnicodeError:
        raise socket.gaierror from None


def resolve(host: str, port: int) -> list[Any]:
    """The addresses of a name, from the system's resolver. Tests replace it."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


@cache
def tls_context() -> ssl.SSLContext:
    """Trusts the system's authorities and certifi's, because some systems come without any."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class _TimedSocket(io.RawIOBase):
    """The part of a socket that http.client needs. Every operation gets only the time that is left."""

    def __init__(self, raw: socket.socket, deadline: Deadline) -> None:
        self._raw = raw
        self._deadline = deadline
        self._unsent = bytearray()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._flush()
        self._raw.settimeout(self._deadline.left())
        return self._raw.recv_into(buffer)

    def sendall(self, data: bytes) -> None:
        """Collect the request, which http.client writes in parts: one packet is quicker than several."""
        self._unsent += data

    def _flush(self) -> None:
        view = memoryview(bytes(self._unsent))
        self._unsent.clear()
        while view:
            self._raw.settimeout(self._deadline.left())
            view = view[self._raw.send(view) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def close(self) -> None:
        """Does nothing: http.client closes before the response is read. `_post_on` closes or keeps the socket."""
