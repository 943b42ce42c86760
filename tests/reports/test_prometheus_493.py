"""https://github.com/prometheus/prometheus/issues/493

An instance is a host and a port, but alerts are about the host.
"""

from __future__ import annotations

from agents.ingest.hosts import source_on_host


def test_instances_on_a_host_share_their_source() -> None:
    sources = {source_on_host("3/10.0.0.1", {}, {}, instance) for instance in ("host42:9132", "host42:9133")}
    assert sources == {"3/host42"}
    assert source_on_host("3/10.0.0.1", {}, {}, "host43:9132") == "3/host43"
