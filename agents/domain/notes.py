"""What a heartbeat means beyond its own words, as the fold notes it and rules read it. Pure constants."""

from __future__ import annotations

from typing import Final

# The first heartbeat of a new process.
STARTED: Final = "started"
# A runner reports that an agent which stopped on purpose is not running.
EXPECTED: Final = "expected"
# A runner could not look, so it knows nothing about its target.
BLIND: Final = "blind"
# A background heartbeat of a process that has just reported its own crash.
DYING: Final = "dying"
# How a runner's message begins when its target is down; the words of the published runner.
RUNNER_SAYS_DOWN: Final = ("Not responding", "Restart attempted")
