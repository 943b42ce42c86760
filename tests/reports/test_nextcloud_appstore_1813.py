"""https://github.com/nextcloud/appstore/pull/1813

Behind a proxy everybody has one address, so ten wrong passwords lock everybody out.
"""

from __future__ import annotations

from watchdog_project.forwarding import client_address, networks

PROXY = networks(["127.0.0.1"])


def test_everybody_behind_a_proxy_counts_alone() -> None:
    assert client_address("127.0.0.1", "203.0.113.5", PROXY) == "203.0.113.5"
    assert client_address("127.0.0.1", "203.0.113.6", PROXY) == "203.0.113.6"


def test_nobody_names_another_address() -> None:
    assert client_address("198.51.100.66", "203.0.113.5", PROXY) == "198.51.100.66"
    assert client_address("127.0.0.1", "203.0.113.5, 198.51.100.66", PROXY) == "198.51.100.66"
