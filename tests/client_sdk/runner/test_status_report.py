"""What the runner reports for each observation."""

from __future__ import annotations

import pytest
from clevagent.runner.backends.base import Observation, State
from clevagent.runner.status_report import StatusReport, status_report

FAILED = Observation(State.STOPPED, why="systemd says failed (watchdog)")
BLIND = Observation(State.UNKNOWN, why="systemctl did not answer within 10 s")
RUNS = Observation(State.RUNNING)


@pytest.mark.parametrize(
    ("seen", "held", "acting", "said"),
    [
        (RUNS, False, "", StatusReport("ok")),
        (RUNS, False, "restart", StatusReport("ok")),
        (FAILED, False, "", StatusReport("error", "Not responding: systemd says failed (watchdog)")),
        (FAILED, False, "restart", StatusReport("warning", "State unknown: a restart is in progress")),
        (FAILED, True, "", StatusReport("shutdown", "Stopped on request")),
        (BLIND, True, "", StatusReport("shutdown", "Stopped on request")),
        (BLIND, False, "", StatusReport("warning", "State unknown: systemctl did not answer within 10 s")),
        (Observation(State.UNKNOWN), False, "", StatusReport("warning", "State unknown: it could not be checked")),
        (Observation(State.STOPPED), False, "", StatusReport("error", "Not responding: it is not running")),
    ],
)
def test_status_report_for_each_observation(seen: Observation, held: bool, acting: str, said: StatusReport) -> None:
    assert status_report(seen, held=held, acting=acting) == said
