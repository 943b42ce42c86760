"""What a person recognizes a sign-in by: the browser in words, and the network. Pure."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Final

MAX_LENGTH: Final = 80
# The first that fits counts: each browser also names those that it descends from.
_BROWSERS: Final = (
    ("Edge", r"Edg(?:e|A|iOS)?/"),
    ("Opera", r"OPR/|Opera"),
    ("Samsung Internet", r"SamsungBrowser/"),
    ("Firefox", r"Firefox/|FxiOS/"),
    ("Chrome", r"Chrome/|CriOS/"),
    ("Safari", r"Safari/"),
)
_SYSTEMS: Final = (
    ("iPhone", r"iPhone"),
    ("iPad", r"iPad"),
    ("Android", r"Android"),
    ("Windows", r"Windows"),
    ("macOS", r"Macintosh|Mac OS X"),
    ("ChromeOS", r"CrOS"),
    ("Linux", r"Linux|X11"),
)
# People move within a network: a provider gives them another address every day.
_NETWORK_BITS: Final = {4: 24, 6: 48}


def browser_name(user_agent: str) -> str:
    """`Firefox on Linux`; the first word of a program's name, such as `curl/8.5.0`; or `Unknown browser`."""
    browser = _first(_BROWSERS, user_agent)
    system = _first(_SYSTEMS, user_agent)
    if browser and system:
        return f"{browser} on {system}"
    program = re.match(r"[\w.\-]+(?:/[\w.\-]+)?", user_agent)
    return browser or (program[0][:MAX_LENGTH] if program else "Unknown browser")


def _first(names: tuple[tuple[str, str], ...], user_agent: str) -> str:
    return next((name for name, pattern in names if re.search(pattern, user_agent)), "")


def network_of(address: str) -> str:
    """The network of an address, `203.0.113.0/24`; empty for a text that is none."""
    try:
        known = ip_address(address)
    except ValueError:
        return ""
    return str(ip_network(f"{known}/{_NETWORK_BITS[known.version]}", strict=False))
