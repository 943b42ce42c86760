"""What the shipped deployments open: the server listens for its proxy, and nothing else listens at all."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_compose_publishes_to_its_own_machine_only() -> None:
    """Except for the proxy, which others are to reach."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    published = [port for name, service in services.items() if name != "proxy" for port in service.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith(("${BIND:-127.0.0.1}:", "127.0.0.1:"))] == []


def test_units_listen_on_their_own_machine_only() -> None:
    units = [unit.read_text() for unit in (ROOT / "deploy/systemd").iterdir()]
    hosts = [host for unit in units for host in re.findall(r"--host[ =](\S+)", unit)]
    assert hosts
    assert set(hosts) <= {"127.0.0.1", "::1"}
