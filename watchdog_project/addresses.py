"""The addresses at which other devices reach this machine, for `bin/run --host 0.0.0.0`.

Imports nothing heavy, because `bin/run` prints them before Django is loaded.
"""

from __future__ import annotations

import io
import ipaddress
import os
import socket
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import urlsplit

import ifaddr
import segno

# What each "all interfaces" address covers, and where the machine reaches itself.
EVERYWHERE: Final = {"0.0.0.0": (4,), "::": (4, 6)}  # noqa: S104 - compared with, not listened on
LOCAL: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
PROXY_ADVICE: Final = (
    "Behind a proxy: set BASE_URL to the address people open, pass X-Forwarded-Proto on, "
    "and put the proxy's address in TRUSTED_PROXIES."
)
PLAIN_ADVICE: Final = "Everyone on these networks can open it, and passwords travel unencrypted: use a proxy with TLS."


def as_host(address: str) -> str:
    """An address as part of a URL: `10.0.0.5`, `[fd00::2]`."""
    return f"[{address}]" if ":" in address else address


def is_everywhere(host: str) -> bool:
    """Whether a server that listens on `host` can be reached at all addresses of the machine."""
    return host in EVERYWHERE


def hosts(host: str) -> list[str]:
    """What other devices may type for a server that listens on `host`: addresses, IPv4 first, then names.

    Empty when it listens on one address only, which is then the only one.
    """
    if not is_everywhere(host):
        return []
    addresses = sorted(_addresses(EVERYWHERE[host]), key=lambda address: (address.version, address))
    return [*(as_host(str(address)) for address in addresses), *_names(socket.gethostname())]


def _addresses(versions: Iterable[int]) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Of all interfaces, except those that no other device can use."""
    for adapter in ifaddr.get_adapters():
        for found in adapter.ips:
            address = ipaddress.ip_address(found.ip if isinstance(found.ip, str) else found.ip[0])
            if address.version in versions and not (address.is_loopback or address.is_link_local):
                yield address


def _names(hostname: str) -> list[str]:
    """The host name, and the one that phones in the same network resolve (mDNS). No name at all in many containers."""
    name = hostname.lower().rstrip(".")
    if not name or name.startswith("localhost"):
        return []
    return [name] if "." in name else [name, f"{name}.local"]


def publish(host: str, port: int) -> str:
    """Tell the settings, by environment variables, where the server may be reached. Returns the main address.

    `BASE_URL` and `ALLOWED_HOSTS` of the operator win.
    """
    known = hosts(host)
    # Links in mails and messages are opened on other devices, too.
    first = known[0] if known else as_host(LOCAL.get(host, host))
    base_url = os.environ["BASE_URL"] = os.environ.get("BASE_URL") or f"http://{first}:{port}"
    if known and not os.environ.get("ALLOWED_HOSTS"):
        base_host = as_host(urlsplit(base_url).hostname or first)
        os.environ["ALLOWED_HOSTS"] = ",".join(dict.fromkeys([base_host, *known, *LOCAL_NAMES]))
    return base_url


def lines(host: str, port: int, base_url: str, *, with_code: bool) -> list[str]:
    """What to print about a server that other devices can reach; empty when none can."""
    others = [url for url in (f"http://{name}:{port}" for name in hosts(host)) if url != base_url]
    if not is_everywhere(host):
        return []
    also = [f"Also at: {', '.join(others)}"] if others else []
    return [*also, PLAIN_ADVICE, PROXY_ADVICE, *(qr_code(base_url) if with_code else [])]


def qr_code(text: str) -> list[str]:
    """For a phone's camera, as lines for a terminal."""
    out = io.StringIO()
    segno.make_qr(text).terminal(out, border=2, compact=True)
    return out.getvalue().splitlines()
