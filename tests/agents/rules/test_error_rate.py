"""High error rates among good heartbeats, compared with the agent's usual rate."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.domain.notes import DYING, EXPECTED
from agents.rules import error_rate
from agents.rules.facts import BeatSeen, Finding
from tests.agents.conftest import World
from tests.agents.rules.conftest import quiet_facts

T0 = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
State = dict[str, Any]


def read(pattern: str, state: State | None = None, **fields: Any) -> State:
    """One heartbeat per letter, `e` for an error."""
    beats = [
        BeatSeen(T0 + timedelta(minutes=n), "error" if letter == "e" else "ok", "no page", **fields)
        for n, letter in enumerate(pattern)
    ]
    return error_rate.read(state or {}, beats)


def judged(state: State, **given: int) -> Finding | None:
    return error_rate.check(quiet_facts(T0, state=state, thresholds=given))


def test_high_error_rate_compares_with_usual() -> None:
    usual = read(("." * 199 + "e") * 5)
    found = judged(read("...." + "..e" * 12, usual))
    assert found is not None
    assert found.reason == "12 of the last 40 heartbeats were errors; usually 1 in 200"
    assert (found.kind, found.severity) == ("error", "warning")
    assert found.evidence == {"errors": 12, "heartbeats": 40, "last_error": "no page"}


def test_new_agents_need_ten_errors() -> None:
    assert judged(read("e." * 9)) is None
    assert judged(read("e." * 10)) is not None


def test_reason_mentions_a_clean_history() -> None:
    found = judged(read("." * 240 + "ee.." * 6))
    assert found is not None
    assert found.reason.endswith("; none of the 224 before")


def test_usual_errors_do_not_alert() -> None:
    rng = random.Random(3)
    state: State = {}
    for _ in range(60):
        state = read("".join(rng.choice("e..") for _ in range(40)), state)
    assert judged(state) is None


def test_lasts_until_half_the_errors_are_left() -> None:
    state = read("." * 200 + "e." * 10)
    assert judged(state) is not None
    assert judged(read("." * 20, state)) is not None
    assert judged(read("." * 38, state)) is None


def test_few_errors_in_a_row_do_not_alert() -> None:
    assert judged(read("." * 400 + "eeee")) is None


@pytest.mark.parametrize("note", [EXPECTED, DYING])
def test_only_the_agents_own_heartbeats_count(note: str) -> None:
    assert read("e" * 40, note=note) == {}
    assert read("e" * 40, evidence={"Result": "failed"}) == {}


def test_fixed_limit_overrides_usual() -> None:
    state = read("." * 37 + "eee")
    assert judged(state) is None
    assert judged(state, errors=3) is not None
    assert judged(read("e." * 12), errors=20) is None


def test_state_is_small_and_replayable() -> None:
    rng = random.Random(4)
    pattern = "".join(rng.choice("e....") for _ in range(9_000))
    whole, stored = read(pattern), dict[str, Any]()
    for start in range(0, len(pattern), 100):
        beats = [
            BeatSeen(T0 + timedelta(minutes=start + n), "error" if one == "e" else "ok", "no page")
            for n, one in enumerate(pattern[start : start + 100])
        ]
        stored = error_rate.read(json.loads(json.dumps(stored)), beats)
    assert stored == whole
    assert len(json.dumps(whole)) < 400


def test_flapping_errors_are_one_incident(world: World) -> None:
    for at in range(90):
        world.beat(at * 10, status="error" if at >= 60 and at % 2 else "ok", message=f"step {at}")
        world.look(at * 10 + 1)
    assert world.kinds() == ["error"]
    assert world.incidents()[-1].resolved_at is None


TRACE = json.dumps(
    {"traceback": "Traceback (most recent call last):\n  File \"a.py\", line 3\nKeyError: 'x'", "crash": True}
)


@pytest.mark.parametrize("message", ["CRASH: KeyError: 'x'", "fetch failed: KeyError"])
def test_traceback_is_shown_without_secrets(world: World, message: str) -> None:
    secret = TRACE.replace("line 3", "line 3, api_key=abcdef123456")
    world.beat(0, status="error", message=f"{message} token=hunter2hunter2", custom_data=secret)
    world.look(1)
    evidence = world.incidents()[0].signals.get().evidence
    assert "File \"a.py\", line 3, api_key=[hidden]\nKeyError: 'x'" in evidence["traceback"]
    assert "hunter2" not in str(evidence) + world.incidents()[0].signals.get().reason


def test_long_traceback_keeps_its_end(world: World) -> None:
    trace = json.dumps({"traceback": "Traceback\n" + "  File x\n" * 2_000 + "ValueError: the cause"})
    world.beat(0, status="error", message="CRASH: ValueError", custom_data=trace)
    world.look(1)
    kept = world.incidents()[0].signals.get().evidence["traceback"]
    assert kept.endswith("ValueError: the cause")
    assert len(kept) <= 3_000


@pytest.mark.parametrize("custom", ["", "[1]", "{}", '{"traceback": 5}', "no json"])
def test_other_custom_data_is_no_traceback(world: World, custom: str) -> None:
    world.beat(0, status="error", message="no", custom_data=custom)
    world.look(1)
    assert "traceback" not in world.incidents()[0].signals.get().evidence


@pytest.mark.parametrize("message", ["CRASH: KeyError", "no page"])
def test_past_errors_are_dropped_from_the_state(world: World, message: str) -> None:
    world.beat(0, status="error", message=message, custom_data=TRACE)
    world.look(1)
    assert len(json.dumps(world.agent().memory.rules)) > 200
    world.beat(10)
    world.look(11)
    kept = world.agent().memory.rules
    assert (kept["crash"], kept["error"]) == ({}, {})
    assert world.kinds() == []
