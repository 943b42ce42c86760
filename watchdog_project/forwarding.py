"""What a proxy in front changes in a request: the client's address, and the path below which the server is published.

Only trusted proxies may name another address: whoever writes `X-Forwarded-For` would get around the limits of sign-in,
and put the silence of an agent on another host.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]
Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]
log = logging.getLogger(__name__)
PREFIXES = ("HTTP_X_FORWARDED", "HTTP_FORWARDED", "HTTP_X_REAL_IP")


def networks(texts: Iterable[str]) -> Networks:
    """Parse `TRUSTED_PROXIES`: addresses, or networks such as `10.0.0.0/8`. Raises ValueError."""
    return [ip_network(text.strip(), strict=False) for text in texts if text.strip()]


def behind_proxies(app: Wsgi, trusted: Networks) -> Wsgi:
    """Set REMOTE_ADDR to the client's address if a trusted proxy forwards the request; else drop what it claims."""

    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        peer = environ.get("REMOTE_ADDR", "")
        environ["REMOTE_ADDR"] = client_address(peer, environ.get("HTTP_X_FORWARDED_FOR", ""), trusted)
        if not _is_trusted(_address(peer), trusted):
            if "HTTP_X_FORWARDED_FOR" in environ:
                _warn_of_untrusted(peer)
            for name in [name for name in environ if name.startswith(PREFIXES)]:
                del environ[name]
        return app(environ, start_response)

    return wrapped


@lru_cache(maxsize=100)
def _warn_of_untrusted(peer: str) -> None:
    """Once per address: behind a proxy that is not listed, all people share its address, and the limits of sign-in."""
    if (address := _address(peer)) is not None and address.is_private:
        log.warning(
            "%s forwards requests and is not in TRUSTED_PROXIES, so its X-Forwarded-* headers are ignored", peer
        )


def below_prefix(app: Wsgi, prefix: str) -> Wsgi:
    """Accept requests with and without the path of `BASE_URL`: some proxies strip it, some don't."""
    if not prefix:
        return app

    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == prefix or path.startswith(f"{prefix}/"):
            environ["PATH_INFO"] = path.removeprefix(prefix) or "/"
        return app(environ, start_response)

    return wrapped


def client_address(peer: str, forwarded_for: str, trusted: Networks) -> str:
    """The last address that is no trusted proxy's. Each proxy appends what it saw, so everything before is hearsay.

    `peer` is the connection's address, `forwarded_for` the header X-Forwarded-For.
    """
    if not _is_trusted(_address(peer), trusted):
        return peer
    known = peer
    for text in reversed(forwarded_for.split(",")):
        address = _address(text)
        if address is None:
            break
        known = str(address)
        if not _is_trusted(address, trusted):
            break
    return known


def _is_trusted(address: Address | None, trusted: Networks) -> bool:
    return address is not None and any(address in network for network in trusted)


def _address(text: str) -> Address | None:
    """An address, also in brackets or with a port, as some proxies write it."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
