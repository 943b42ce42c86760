"""https://github.com/inverse-inc/packetfence/issues/3291

After a hard reboot another process has the number in the PID file.
"""

from __future__ import annotations

import os
from pathlib import Path

from clevagent.runner.backends.base import State
from clevagent.runner.backends.process import Processes

from tests.client_sdk.runner.test_process import pid_file


def test_number_of_another_process_is_stale(tmp_path: Path) -> None:
    """This process began long after the file was written."""
    backend = Processes()
    backend.folder = tmp_path / "state"
    seen = backend.check(pid_file(tmp_path, os.getpid(), age=86_400), 5)
    assert seen.state is State.STOPPED
    assert "another process has its id now" in seen.why
