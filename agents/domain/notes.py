"""What the fold concludes about a heartbeat from its context, for the rules to read. Constants only."""

from __future__ import annotations

from typing import Final

# The first heartbeat of a new process.
STARTED: Final = "started"
# A runner reports that an agent which stopped on purpose is not running.
EXPECTED: Final = "expected"
# A runner could not inspect its target, so it knows nothing about it.
BLIND: Final = "blind"
# A background heartbeat from a process that has just reported its own crash.
DYING: Final = "dying"
# Made before one that was received earlier, such as a goodbye that another process delivers: only its spend and
# a job's run count.
OUTDATED: Final = "outdated"
# How the published runner's message begins when its target is down.
RUNNER_SAYS_DOWN: Final = ("Not responding", "Restart attempted")
