"""Where browsers make passkeys: for a host's name, never for an IP address, and over https or on localhost. Pure."""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit


class Passkeys(NamedTuple):
    """Whether they can work on a page; if not, `instead` is the same page where they can, or empty."""

    possible: bool
    instead: str = ""


def at(url: str) -> Passkeys:
    """What becomes of passkeys on the page at `url`."""
    page = urlsplit(url)
    host = page.hostname or ""
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost" or host.endswith(".localhost")
        return Passkeys(page.scheme == "https" or local)
    port = f":{page.port}" if page.port else ""
    return Passkeys(False, page._replace(netloc=f"localhost{port}").geturl() if loopback else "")
