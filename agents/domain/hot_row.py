"""The inputs and results of folding one heartbeat: the hot row, the agent's limits, the answer. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum, auto
from typing import Any

import msgspec

from agents.domain import budgets, clocks
from agents.domain.pricing import Spent


class Hot(msgspec.Struct):
    """`AgentState`, column by column. Times are aware, money is in micro-dollars.

    `tests/contracts/test_hot_row.py` names a column that is missing here or in `storage/columns.py`.
    """

    agent_id: int
    check_at: datetime | None
    beats: int
    last_beat_at: datetime | None
    last_progress_at: datetime | None
    usual_gap: float | None
    quiet_until: datetime | None
    declared_interval: float | None
    declared_progress_timeout: float | None
    waiting_for: str
    waiting_until: datetime | None
    reported: str
    crashed: bool
    iteration: int | None
    message_hash: int | None
    prompts_hash: int | None
    calls_hash: int | None
    memory_mb: float | None
    instance: str
    instances: dict[str, dict[str, Any]] | None
    body_hash: int | None
    body_at: datetime | None
    stored_after: float
    day: date | None
    tokens_today: int
    cost_today: int
    priced_today: int
    unpriced: dict[str, int] | None
    cost_limit: int | None
    month: date | None
    tokens_month: int
    cost_month: int
    priced_month: int
    unpriced_month: int
    tokens_total: int
    cost_total: int
    priced_total: int
    unpriced_total: int
    run_at: datetime | None
    run_cost: int
    run_priced: int
    run_unpriced: int
    source: str
    runner: str
    runner_at: datetime | None
    runner_down: bool
    held: bool
    restart_type: str
    restart_target: str
    warned: str
    # Of the review's, not used by the fold.
    planned_at: datetime | None
    reviewed_at: datetime | None
    # Only read by the fold; the review writes them.
    learned_progress_timeout: float | None
    status: str
    incident_id: int | None
    incident_kind: str
    warnings: list[tuple[str, str]] | None
    hold: bool
    lifted: dict[str, list[Any]] | None
    # People write it.
    hold_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLimits:
    """Settings made by people that affect a heartbeat. Money is micro-dollars."""

    clocks: clocks.Settings
    daily_budget: int | None
    run_budget: int | None
    daily_tokens: int | None
    paused: bool
    # Whether a person armed restarts, see `pinning.py`.
    armed: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    # Whether the project has a monthly budget, and what its other agents spent of it.
    monthly: bool = False
    others: budgets.Month | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestTime:
    """When a heartbeat was received and stored; `today` is the date in its project's time zone."""

    received_at: datetime
    stored_at: datetime
    today: date

    @property
    def waited(self) -> float:
        """Seconds between receiving and storing."""
        return (self.stored_at - self.received_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a heartbeat. Each warning is sent once per incident, budget and client start."""

    agent_id: int
    warning: str | None = None
    reason: str | None = None
    incident: dict[str, Any] | None = None
    hold: bool = False
    status: str = "ok"

    def as_dict(self) -> dict[str, Any]:
        return {
            "agent_id": self.agent_id,
            "status": self.status,
            "warning": self.warning,
            "reason": self.reason,
            "incident": self.incident,
            "hold": self.hold,
        }


class Later(Enum):
    """Why a heartbeat cannot be stored yet: its agent's row is locked, or its agent does not exist."""

    LOCKED = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldResult:
    """What to store of a heartbeat besides the hot row, and what to answer.

    `note` is what the fold concluded from context (`notes.py`), `claimed` a restart target that it names against the
    pinned one (`pinning.py`). `gap` is the number of seconds since the last heartbeat; None where that means nothing.
    `unread`: the review must look at it at once, not just in time.
    """

    spent: Spent
    progress: bool
    warning: str | None
    reason: str | None
    note: str | None
    hold: bool
    gap: float | None = None
    unread: bool = False
    claimed: str = ""
