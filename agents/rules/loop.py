"""The same tool called with the same arguments, and the same result where it is reported, again and again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from agents.fold import STARTED
from agents.rules.base import WARNING, BeatSeen, Facts, Finding, since, spoken
from agents.rules.cost import dollars

KIND = "loop"
LABEL = "Loop"
# Five equal calls in a row: on recorded runs 0.1 % of the good ones are alarmed and 59 of 75 real loops found.
REPEATS = 5
LEAST = 2
# Asking the same again is what a poller is for.
POLLER = re.compile(r"poll|wait|sleep|status|progress|watch|health|read_output|heartbeat", re.IGNORECASE)


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Count the last call's repetitions; tokens and money are those of the beats since the second of them.

    A new process begins anew: the loop of the one before it, which may have ended for it, is not its own.
    """
    state = dict(memory)
    for beat in beats:
        if beat.note == STARTED:
            state = {}
        for call in beat.calls:
            state = _count(state, call, beat.received_at)
        if beat.calls and state.get("count", 0) > 1:
            state["tokens"] += beat.tokens
            state["cost"] += beat.cost
    return state


def _count(state: dict[str, Any], call: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    name, args = call.get("name", ""), call.get("args") or ""
    key = [name, call.get("args_hash") or args, call.get("result_hash")]
    if state.get("key") == key:
        return {**state, "count": state["count"] + 1, "last": at.isoformat()}
    return {
        "key": key,
        "args": args,
        "count": 1,
        "first": at.isoformat(),
        "last": at.isoformat(),
        "tokens": 0,
        "cost": 0,
    }


def check(facts: Facts) -> Finding | None:
    """A warning from five equal calls in a row on; any other call ends it. Pollers are left alone."""
    count = facts.memory.get("count", 0)
    if facts.is_stopped or count < max(LEAST, int(facts.thresholds.get("repeats", REPEATS))):
        return None
    name, memory = facts.memory["key"][0], facts.memory
    if POLLER.search(name):
        return None
    first, last = datetime.fromisoformat(memory["first"]), datetime.fromisoformat(memory["last"])
    money = f", {dollars(memory['cost'])} so far" if memory["cost"] else ""
    call = f"{name}({memory['args']})" if memory["args"] else name
    reason = f"`{call[:200]}` called {count} times in a row in {spoken(since(first, last))}{money}"
    evidence = {
        "tool": name,
        "args": memory["args"],
        "count": count,
        "first_at": memory["first"],
        "last_at": memory["last"],
        "tokens": memory["tokens"],
        "cost_usd": memory["cost"] / 1_000_000,
        "same_result": True if memory["key"][2] is not None else None,  # unknown where results are not reported
    }
    return Finding(KIND, WARNING, reason, first, evidence)
