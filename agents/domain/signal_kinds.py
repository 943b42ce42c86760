"""The kinds of signals, and what each of them means outside the rule that finds it. Pure: no Django, no clock.

This table is the only place that lists kinds; `tests/contracts/test_signal_kinds.py` names what a new one still lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

MISSED_HEARTBEAT: Final = "missed_heartbeat"
STALLED: Final = "stalled"
LOOP: Final = "loop"
COST: Final = "cost"
ERROR: Final = "error"
CRASH: Final = "crash"
MEMORY: Final = "memory"
RESTART_FAILED: Final = "restart_failed"
DID_NOT_START: Final = "did_not_start"
TOOK_TOO_LONG: Final = "took_too_long"
JOB_FAILED: Final = "job_failed"
RAN_TOO_OFTEN: Final = "ran_too_often"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a kind decides. Everything except `headline` has a default, which is the cautious choice."""

    # The title of a notification after the agent's name: "my-agent is down".
    headline: str
    # The same when many agents share the incident. Empty: as `headline`.
    shared_headline: str = ""
    # The same when the signal joins an open incident. Empty: "new signal" and the kind's label.
    added_headline: str = ""

    # The same when a runner confirms that the target is not running.
    confirmed_headline: str = ""

    # The agent's status while the signal is open.
    shown_as: Literal["down", "stalled", "warning"] = "warning"
    # Down, and cured by a restart, once a runner confirms that the target is not running.
    down_if_runner_confirms: bool = False
    # When critical, the agent does no work: counts as downtime on the status page.
    stops_work: bool = False

    # A restart may fix it.
    restart_cures: bool = False
    # A restart would only bring it back at the same price, so nothing automatic restarts the agent.
    survives_restart: bool = False

    # The `warning` in answers to the agent's heartbeats. Empty: the client is not warned.
    client_warning: str = ""
    # About a budget: a warning only announces it; when critical it holds the client, it may ease again when a person
    # raises the budget, it ends at midnight, and a shared incident is the whole project's.
    is_budget: bool = False

    # The reason contains a duration, so it is rewritten while the signal is open.
    reason_grows: bool = False
    # Reported even when the agent shut down right afterwards.
    outlives_shutdown: bool = False
    # After a person resolves it, the agent counts as stopped until its next heartbeat.
    ends_by_heartbeat: bool = False
    # After a person resolves it, the progress timeout starts again.
    ends_by_progress: bool = False


TRAITS: Final[Mapping[str, Traits]] = {
    MISSED_HEARTBEAT: Traits(
        headline="is down",
        shared_headline="fell silent together",
        shown_as="down",
        stops_work=True,
        restart_cures=True,
        reason_grows=True,
        ends_by_heartbeat=True,
    ),
    STALLED: Traits(
        headline="is stalled",
        shown_as="stalled",
        stops_work=True,
        restart_cures=True,
        reason_grows=True,
        ends_by_progress=True,
    ),
    LOOP: Traits(headline="is in a loop", survives_restart=True, client_warning="loop_detected"),
    COST: Traits(
        headline="exceeded its budget",
        shared_headline="exceeded its monthly budget",
        survives_restart=True,
        client_warning="cost_exceeded",
        is_budget=True,
    ),
    ERROR: Traits(
        headline="reported an error",
        confirmed_headline="is not running",
        down_if_runner_confirms=True,
        stops_work=True,
        outlives_shutdown=True,
        ends_by_heartbeat=True,
    ),
    CRASH: Traits(
        headline="crashed",
        shown_as="down",
        stops_work=True,
        restart_cures=True,
        outlives_shutdown=True,
        ends_by_heartbeat=True,
    ),
    MEMORY: Traits(headline="memory keeps growing"),
    RESTART_FAILED: Traits(headline="could not be restarted", added_headline="could not be restarted", stops_work=True),
    DID_NOT_START: Traits(headline="did not start", added_headline="did not start", shown_as="down", stops_work=True),
    TOOK_TOO_LONG: Traits(
        headline="takes too long",
        added_headline="takes too long",
        shown_as="stalled",
        stops_work=True,
        reason_grows=True,
    ),
    JOB_FAILED: Traits(headline="failed", added_headline="failed", shown_as="down", stops_work=True),
    RAN_TOO_OFTEN: Traits(headline="ran too often", added_headline="ran too often"),
}
CLIENT_WARNINGS: Final = tuple(row.client_warning for row in TRAITS.values() if row.client_warning)
# A kind that another version of the server has stored and this one does not know.
_UNKNOWN: Final = Traits(headline="needs attention")


def traits(kind: str) -> Traits:
    return TRAITS.get(kind, _UNKNOWN)


def where(condition: Callable[[Traits], bool]) -> frozenset[str]:
    """The kinds whose traits meet a condition."""
    return frozenset(kind for kind, row in TRAITS.items() if condition(row))
