"""Networks that a key may be used from, and the addresses in them. Pure: no Django, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Networks = tuple[IPv4Network | IPv6Network, ...]
MAX_NETWORKS: Final = 50
# IPv4 addresses as an IPv6 socket sees them.
_MAPPED: Final = IPv6Network("::ffff:0:0/96")


def parse(text: str) -> list[str]:
    """Addresses and networks, separated by lines, commas or spaces, in their usual form.

    Raises ValueError naming the one that is neither.
    """
    return checked(text.replace(",", " ").split())


def checked(texts: Iterable[str]) -> list[str]:
    """As `parse`, from a list."""
    known = list(dict.fromkeys(_in_usual_form(text.strip()) for text in texts))
    if len(known) > MAX_NETWORKS:
        raise ValueError(f"At most {MAX_NETWORKS} networks.")
    return known


def format_lines(texts: Sequence[str]) -> str:
    return "\n".join(texts)


def compiled(texts: Iterable[str]) -> Networks:
    return tuple(ip_network(text) for text in texts)


def contain(networks: Networks, address: str) -> bool:
    """Whether the address lies in one of the networks. False for text that is no address."""
    try:
        known: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    known = getattr(known, "ipv4_mapped", None) or known
    return any(known in network for network in networks)


def _in_usual_form(text: str) -> str:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"“{text}” is neither an address nor a network. Write 10.0.0.0/8 or 2001:db8::/32.") from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        last = IPv4Address(int(network.network_address) & 0xFFFFFFFF)
        return str(IPv4Network((last, network.prefixlen - 96)))
    return str(network)
