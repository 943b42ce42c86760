"""Where browsers support passkeys: host names only (no IP addresses), over https or on localhost. Pure."""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit


class PasskeySupport(NamedTuple):
    """Whether passkeys work on a page. If not, `alternative_url` is the same page where they do, or empty."""

    available: bool
    alternative_url: str = ""


def support_at(url: str) -> PasskeySupport:
    page = urlsplit(url)
    host = page.hostname or ""
    try:
        is_loopback = ip_address(host).is_loopback
    except ValueError:
        is_localhost = host == "localhost" or host.endswith(".localhost")
        return PasskeySupport(page.scheme == "https" or is_localhost)
    port = f":{page.port}" if page.port else ""
    return PasskeySupport(False, page._replace(netloc=f"localhost{port}").geturl() if is_loopback else "")
