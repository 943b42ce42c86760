"""The columns that raw SQL writes, each with its PostgreSQL type. `tests/contracts/test_hot_row.py` checks them."""

from __future__ import annotations

from typing import Final

# Hot-row columns that a heartbeat writes.
WRITTEN: Final[dict[str, str]] = {
    "check_at": "timestamptz",
    "beats": "bigint",
    "last_beat_at": "timestamptz",
    "last_progress_at": "timestamptz",
    "usual_gap": "float8",
    "quiet_until": "timestamptz",
    "declared_interval": "float8",
    "declared_progress_timeout": "float8",
    "waiting_for": "text",
    "waiting_until": "timestamptz",
    "reported": "text",
    "crashed": "boolean",
    "iteration": "bigint",
    "message_hash": "bigint",
    "prompts_hash": "bigint",
    "calls_hash": "bigint",
    "memory_mb": "float8",
    "instance": "text",
    "instances": "jsonb",
    "body_hash": "bigint",
    "body_at": "timestamptz",
    "stored_after": "float8",
    "day": "date",
    "tokens_today": "bigint",
    "cost_today": "bigint",
    "priced_today": "bigint",
    "unpriced": "jsonb",
    "cost_limit": "bigint",
    "month": "date",
    "tokens_month": "bigint",
    "cost_month": "bigint",
    "priced_month": "bigint",
    "unpriced_month": "bigint",
    "tokens_total": "bigint",
    "cost_total": "bigint",
    "priced_total": "bigint",
    "unpriced_total": "bigint",
    "run_at": "timestamptz",
    "run_cost": "bigint",
    "run_priced": "bigint",
    "run_unpriced": "bigint",
    "source": "text",
    "runner": "text",
    "runner_at": "timestamptz",
    "runner_down": "boolean",
    "held": "boolean",
    "restart_type": "text",
    "restart_target": "text",
    "warned": "text",
}
# Hot-row columns that the review writes.
CONCLUDED: Final[dict[str, str]] = {
    "check_at": "timestamptz",
    "planned_at": "timestamptz",
    "reviewed_at": "timestamptz",
    "quiet_until": "timestamptz",
    "learned_progress_timeout": "float8",
    "status": "text",
    "incident_id": "bigint",
    "incident_kind": "text",
    "warnings": "jsonb",
    "hold": "boolean",
    "waiting_until": "timestamptz",
    "lifted": "jsonb",
}
# Hot-row columns that only people write.
BY_PEOPLE: Final = ("hold_reason",)
HOT_COLUMNS: Final = ("agent_id", *WRITTEN, *(name for name in CONCLUDED if name not in WRITTEN), *BY_PEOPLE)
HEARTBEAT: Final[dict[str, str]] = {
    "agent_id": "bigint",
    "day": "date",
    "received_at": "timestamptz",
    "spent_at": "timestamptz",
    "beat_id": "text",
    "status": "text",
    "progress": "boolean",
    "tokens": "bigint",
    "cost": "bigint",
    "priced": "bigint",
    "unpriced": "bigint",
    "tool_calls": "int",
    "iteration": "bigint",
    "memory_mb": "float8",
    "gap": "float8",
    "content": "jsonb",
    "answer": "jsonb",
}
# Heartbeat columns that repricing writes.
PRICED: Final = {name: HEARTBEAT[name] for name in ("cost", "priced", "unpriced", "content")}
