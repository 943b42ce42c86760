"""Probes for tests."""

from __future__ import annotations

from typing import Any

from clevagent.runner import probes
from clevagent.runner.backends.base import Probe
from clevagent.runner.target import make_target

BOT = make_target("systemd", "bot.service")


def probe(**settings: Any) -> Probe:
    """A probe that has had its first look."""
    found = probes.make(settings, BOT)
    assert found.look(1000)[0] is None
    return found


def problem(found: Probe, now: float = 1010) -> str:
    """The probe's error; it then reports neither progress nor its absence."""
    moved, shown = found.look(now)
    assert moved is None
    return str(shown["probe_error"])
