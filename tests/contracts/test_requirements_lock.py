"""The container installs exactly what `requirements.txt` pins, and nothing that somebody else put in its place."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()


def _pins(text: str) -> dict[str, str]:
    """Name -> version. An extra is a part of the name in `requirements.txt` only."""
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in found}


def test_lock_has_every_pin() -> None:
    wanted, locked = _pins((ROOT / "requirements.txt").read_text()), _pins(LOCK)
    assert len(wanted) > 20
    assert {name: locked.get(name) for name in wanted} == wanted


def test_every_locked_package_has_a_hash() -> None:
    entries = re.split(r"^(?=[A-Za-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) > 40
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_container_installs_from_the_lock() -> None:
    assert "--require-hashes -r requirements.lock" in (ROOT / "Dockerfile").read_text()
