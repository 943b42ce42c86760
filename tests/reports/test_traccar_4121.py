"""https://github.com/traccar/traccar/issues/4121

A Java service that `systemctl stop` ends exits with 143, and is called failed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from clevagent.runner.backends import systemd
from clevagent.runner.target import parse

from tests.client_sdk.runner.scripted import Scripted, shown


def test_stopped_service_has_not_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl = Scripted(tmp_path / "bin", "systemctl").on_path(monkeypatch)
    for status, ended in ((143, True), (1, False)):
        found = shown("failed", Result="exit-code", ExecMainCode=1, ExecMainStatus=status, Restart="no")
        systemctl.answers("show", found)
        assert systemd.check(parse("systemd:traccar"), 5).ended is ended
