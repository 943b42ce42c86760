"""Loops, lookalikes, and the detector's state."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.rules import loop
from agents.rules.facts import BeatSeen, Facts, Finding
from agents.rules.loops.state import RING
from tests.agents.rules.conftest import quiet_facts

T0 = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
Call = dict[str, Any]


def call(name: str, args: str = "", **fields: Any) -> Call:
    return {"name": name, "args": args, **fields}


def beats(calls: Iterable[Call], every: float = 8, tokens: int = 3_000, **fields: Any) -> list[BeatSeen]:
    """One heartbeat per call, `every` seconds."""
    found = []
    for number, one in enumerate(calls, 1):
        at = T0 + timedelta(seconds=every * number)
        found.append(BeatSeen(at, "ok", calls=[one], tokens=tokens, counter=1, iteration=number, **fields))
    return found


def said(texts: Iterable[str], tokens: int = 3_000) -> list[BeatSeen]:
    return [
        BeatSeen(T0 + timedelta(seconds=8 * number), "ok", text, tokens=tokens, iteration=number)
        for number, text in enumerate(texts)
    ]


def judged(found: list[BeatSeen], **thresholds: Any) -> Finding | None:
    return loop.current(loop.read({}, found), thresholds)


def alarms(found: list[BeatSeen]) -> list[int]:
    """The heartbeats at which an alarm is raised."""
    state: dict[str, Any] = {}
    told = []
    for number, beat in enumerate(found):
        state, findings = loop.step(state, beat)
        if any(one.severity != "info" for one in findings):
            told.append(number)
    return told


def cycle(period: int, laps: int) -> list[Call]:
    return [call("fetch", f'{{"page": {number}}}') for number in range(period)] * laps


def uuid(number: int) -> str:
    return f"{number:08x}-0000-4000-a000-{number:012x}"


SEARCH = call("search_docs", "query=release notes")
EDITS = [call("edit", f"line {number}: x = {number}", ok=False, result_hash="e1") for number in range(8)]
LOOPS: dict[str, tuple[list[BeatSeen], int]] = {
    # heartbeats, and the index of the one by which the loop must be found
    "the same call": (beats([SEARCH] * 6), 3),
    "with the same result": (beats([{**SEARCH, "result_hash": "r"}] * 6), 3),
    "two in turn": (beats(cycle(2, 6)), 7),
    "three in turn": (beats(cycle(3, 4)), 8),
    "eight in turn": (beats(cycle(8, 4)), 17),
    "a changing time": (beats(call("metrics", f'{{"now": "2026-05-04T10:{n:02d}:00Z"}}') for n in range(9)), 4),
    "a changing request": (beats(call("post", f'{{"a": 1, "request_id": "{uuid(n)}"}}') for n in range(9)), 4),
    "a counted attempt": (beats(call("get", f'{{"url": "https://x", "attempt": {n}}}') for n in range(9)), 4),
    "keys in any order": (beats(call("f", t) for t in ['{"a": 1, "b": 2}', '{"b":2,  "a":1}'] * 3), 3),
    "words in any order": (beats(call("find", f"query={t}") for t in ["refund order", "the order refund"] * 3), 4),
    "cut arguments": (beats([call("write", "x" * 200)] * 9), 6),
    "cut arguments, known by their hash": (beats([call("write", "x" * 200, args_hash="h")] * 9), 3),
    "others between": (beats(one for n in range(8) for one in (SEARCH, SEARCH, call("f", f"{n}"))), 12),
    "in one heartbeat": ([BeatSeen(T0, "ok", calls=[SEARCH] * 6, counter=6, tokens=9)], 0),
    "the same failure": (beats(EDITS), 4),
    "a poller that hurries for nothing": (beats([call("get_status", "id=1", result_hash="r")] * 14), 11),
    "the same words": (beats([SEARCH]) + said(["I will now look into the failing import."] * 6), 4),
    "words of an agent without calls": (said(["I will now look into the failing import."] * 9), 7),
    "words that count": (beats([SEARCH]) + said(f"Retry {n} of the import failed again, sorry." for n in range(6)), 4),
    "ever other results": (beats(call("deploy", "app", result_hash=f"{n}") for n in range(9)), 7),
}
JOB = call("get_job_status", "job=7")
LEGITIMATE: dict[str, list[BeatSeen]] = {
    "three equal calls": beats([SEARCH] * 3),
    "pages": beats(call("list_orders", f'{{"status": "open", "page": {n}}}') for n in range(30)),
    "cursors": beats(call("list_events", f'{{"cursor": "{uuid(n)}"}}') for n in range(30)),
    "a batch of ids": beats(call("get_user", f'{{"user_id": "{uuid(n)}"}}') for n in range(30)),
    "windows of time": beats(call("get_logs", f'{{"from": "2026-05-04T{n:02d}:00:00Z"}}') for n in range(20)),
    "polling": beats([JOB] * 30, every=5),
    "polling in a shell": beats([call("bash", "sleep 30"), call("bash", "tail -n 5 train.log")] * 15, every=16),
    "a slow job whose state stays": beats([{**JOB, "result_hash": "running"}] * 30, every=30, tokens=2_000),
    "the next page each time": beats(call("next_page", "{}", result_hash=f"{n}") for n in range(20)),
    "edit and test": beats(
        one for n in range(12) for one in (call("edit", f"line {n}: y = {n}"), call("run_tests", "all"))
    ),
    "a schedule": beats(cycle(3, 20), every=100),
    "back-off": [
        BeatSeen(T0 + timedelta(seconds=2**n), "ok", calls=[call("get", "url=x")], counter=1, tokens=99)
        for n in range(8)
    ],
    "a status line": [
        BeatSeen(T0 + timedelta(seconds=n), "ok", "working on the next item", calls=[call("f", f"{n}")], counter=1)
        for n in range(20)
    ],
    "idle": said(["idle, waiting for the next task"] * 40, tokens=0),
    "progress in words": beats([SEARCH]) + said(f"Read page {n} of the annual report." for n in range(20)),
    "names without arguments": beats([call("think"), call("search")] * 10),
    "a question after each call": [
        one for n in range(8) for one in (*beats([SEARCH]), *said([f"And what about order number {n}, please?"]))
    ],
}


@pytest.mark.parametrize("what", LOOPS)
def test_loops_are_found_in_time(what: str) -> None:
    found, latest = LOOPS[what]
    told = alarms(found)
    assert told
    assert told[0] == latest


@pytest.mark.parametrize("what", LEGITIMATE)
def test_lookalikes_raise_no_alarm(what: str) -> None:
    assert alarms(LEGITIMATE[what]) == []


@pytest.mark.parametrize(
    ("what", "waits"),
    [
        ("polling", "polling"),
        ("polling in a shell", "polling"),
        ("a schedule", "scheduled"),
        ("back-off", "backing off"),
    ],
)
def test_waits_raise_no_alarm(what: str, waits: str) -> None:
    finding = judged(LEGITIMATE[what])
    assert finding is not None
    assert (finding.severity, finding.evidence["pattern"]) == ("info", waits)
    assert loop.check(facts(loop.read({}, LEGITIMATE[what]))) is None


def test_endless_polling_alerts() -> None:
    finding = judged(beats([JOB] * 50, every=30))
    assert finding is not None
    assert finding.severity == "warning"
    assert finding.evidence["silence"] == '{"loop": {"budget:get_job_status": 100}}'


# Reasons


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            [BeatSeen(T0 + timedelta(seconds=27.7 * n), "ok", calls=[{**SEARCH, "result_hash": "r"}], counter=1,
                      tokens=9, cost=238_462) for n in range(14)],
            "`search_docs(query=release notes)` called 14 times with the same result in 6 minutes, $3.10 so far",
        ),
        (beats([SEARCH] * 5), "`search_docs(query=release notes)` called 5 times in a row in 32 seconds, "
                              "12,000 tokens so far"),
        (beats(cycle(3, 4)), "`fetch` → `fetch` → `fetch` repeated 4 times in 88 seconds, 33,000 tokens so far"),
        (LOOPS["the same failure"][0], "`edit` failed 8 times in a row with the same error in 56 seconds, "
                                       "21,000 tokens so far"),
    ],
)  # fmt: skip
def test_reasons_are_readable(found: list[BeatSeen], words: str) -> None:
    finding = judged(found)
    assert finding is not None
    assert finding.reason == words


def test_evidence_is_complete() -> None:
    finding = judged(beats([SEARCH] * 5))
    assert finding is not None
    assert finding.evidence == {
        "pattern": "cycle", "tools": ["search_docs"], "args": "query=release notes", "period": 1, "laps": 5,
        "count": 5, "exact": True, "same_result": None, "first_at": "2026-05-04T12:00:08+00:00",
        "last_at": "2026-05-04T12:00:40+00:00", "seconds": 32.0, "lap_gap": 8.0, "tokens": 12_000, "cost_usd": 0.0,
        "needed": 4, "silence": '{"loop": {"poller:search_docs": true}}, or a higher "budget:search_docs"',
    }  # fmt: skip
    assert finding.started_at == T0 + timedelta(seconds=8)


def test_long_and_expensive_loops_are_critical() -> None:
    assert [judged(beats([SEARCH] * count, tokens=tokens)).severity for count, tokens in  # type: ignore[union-attr]
            ((7, 9_000), (8, 9_000), (8, 900))] == ["warning", "critical", "warning"]  # fmt: skip


# Thresholds


@pytest.mark.parametrize(
    ("given", "count", "told"),
    [
        ({"repeats": 8}, 7, False),
        ({"repeats": 8}, 8, True),
        ({"repeats": 2}, 2, True),
        ({"repeats": 0}, 1, False),
        ({"repeats": 30}, 20, False),
        ({"budget:search_docs": 10}, 9, False),
        ({"budget:search_docs": 10}, 10, True),
        ({"budget:other": 10}, 4, True),
        ({"poller:search_docs": True}, 20, False),
    ],
)
def test_thresholds_change_the_limit(given: dict[str, Any], count: int, told: bool) -> None:
    finding = judged(beats([SEARCH] * count), **given)
    assert (finding is not None and finding.severity != "info") is told


def test_poller_can_be_declared_not_to_poll() -> None:
    found = beats([call("get_flight_status", "flight=1")] * 4)
    assert judged(found, **{"poller:get_flight_status": False}).severity == "warning"  # type: ignore[union-attr]
    assert judged(found).severity == "info"  # type: ignore[union-attr]


# The end of a loop


def facts(state: dict[str, Any], now: datetime = T0, **thresholds: Any) -> Facts:
    return quiet_facts(now, SimpleNamespace(reported="ok"), state=state, thresholds=thresholds)


def others(count: int) -> list[Call]:
    return [call("write", f"part {number}") for number in range(count)]


@pytest.mark.parametrize(("count", "stands"), [(7, True), (8, False)])
def test_over_after_eight_other_calls(count: int, stands: bool) -> None:
    assert (judged(beats([SEARCH] * 6 + others(count))) is not None) is stands


def test_new_results_end_a_loop() -> None:
    moving = [call("search_docs", "query=release notes", result_hash=f"{number}") for number in range(8)]
    assert judged(beats([{**SEARCH, "result_hash": "r"}] * 6 + moving)) is None


def test_over_after_a_long_silence() -> None:
    state = loop.read({}, beats([SEARCH] * 6))
    assert loop.check(facts(state, T0 + timedelta(minutes=5))) is not None
    assert loop.check(facts(state, T0 + timedelta(minutes=12))) is None


@pytest.mark.parametrize("change", [{"note": "started"}, {"run": "run=2"}, {"waiting": "approval"}])
def test_new_process_run_or_persons_turn_starts_over(change: dict[str, str]) -> None:
    found = beats([SEARCH] * 4)
    again = BeatSeen(T0 + timedelta(minutes=1), "ok", calls=[SEARCH], counter=1, **change)  # type: ignore[arg-type]
    assert judged([*found, again]) is None
    assert judged([*found, BeatSeen(again.received_at, "ok", calls=[SEARCH], counter=1)]) is not None


def test_dismissed_repetitions_do_not_count() -> None:
    state = loop.dismissed(loop.read({}, beats([SEARCH] * 6)), {})
    assert loop.current(state, {}) is None
    assert loop.current(loop.read(state, beats([SEARCH] * 3)), {}) is None
    assert loop.current(loop.read(state, beats([SEARCH] * 4)), {}) is not None


# Which calls are new


@pytest.mark.parametrize("counted", [True, False])
def test_rolling_log_is_counted_once(counted: bool) -> None:
    calls = [call("f", f"{number}") for number in range(4)] + [SEARCH] * 3
    log = [
        BeatSeen(T0 + timedelta(seconds=n), "ok", calls=calls[: n + 1], counter=1 if counted else None)
        for n in range(len(calls))
    ]
    idle = [BeatSeen(T0 + timedelta(seconds=20 + n), "ok", calls=calls) for n in range(9)]
    assert judged([*log, *idle]) is None


def test_log_without_counter_is_all_new() -> None:
    found = [BeatSeen(T0 + timedelta(seconds=n), "ok", calls=[SEARCH], tokens=5) for n in range(5)]
    assert judged(found).evidence["count"] == 5  # type: ignore[union-attr]


# The state

ARGS = st.sampled_from(["q=a", "q=b", "{}", "\N{PILE OF POO}" * 200, '{"a": 1, "request_id": "1"}', "x" * 200, ""])
CALLS = st.fixed_dictionaries(
    {"name": st.sampled_from(["search", "edit", "get_status", "\u4e2d" * 200]), "args": ARGS},
    optional={"result_hash": st.sampled_from(["r", "s"]), "ok": st.booleans(), "args_hash": st.sampled_from("ab")},
)
BEATS = st.lists(
    st.builds(
        BeatSeen,
        st.integers(0, 10**8).map(lambda seconds: T0 + timedelta(seconds=seconds / 10)),
        st.just("ok"),
        st.sampled_from(["", "It failed again, I try once more.", "All is well with the import."]),
        calls=st.lists(CALLS, max_size=30),
        tokens=st.sampled_from([0, 3_000, 10**9]),
        cost=st.sampled_from([0, 10**12]),
        counter=st.sampled_from([None, 0, 1, 30]),
        iteration=st.none() | st.integers(0, 2**62),
        note=st.sampled_from(["", "", "", "started"]),
        run=st.sampled_from(["", "run=" + "z" * 200]),
    ),
    max_size=40,
)


@pytest.mark.slow
@given(BEATS)
def test_any_stream_is_bounded_and_replayable(found: list[BeatSeen]) -> None:
    state, stored = {}, {}  # type: dict[str, Any], dict[str, Any]
    for beat in found:
        kept = copy.deepcopy(state)
        following, findings = loop.step(state, beat)
        assert state == kept
        state = following
        stored, again = loop.step(json.loads(json.dumps(stored)), beat)
        assert (state, findings) == (stored, again)
        assert len(json.dumps(state)) <= 6 * 1024
    assert loop.read({}, found) == (state or loop.read({}, []))


@pytest.mark.slow
@given(BEATS, st.dictionaries(st.sampled_from(["repeats", "poller:search", "budget:edit"]), st.integers(-1, 40)))
def test_no_finding_without_evidence(found: list[BeatSeen], thresholds: dict[str, int]) -> None:
    finding = judged(found, **thresholds)
    if finding is not None:
        assert finding.reason
        assert finding.severity in ("info", "warning", "critical")
        evidence = finding.evidence
        assert evidence["count"] >= 2
        assert evidence["tools"] or evidence["pattern"] == "words"
        assert evidence["silence"]
        assert min(evidence["seconds"], evidence["tokens"], evidence["cost_usd"]) >= 0
        assert evidence["first_at"] <= evidence["last_at"] or evidence["seconds"] == 0


@pytest.mark.parametrize("state", [{}, {"key": 1}, {"version": 99}, {"version": 1, "ring": 7}])
def test_older_state_versions_start_over(state: dict[str, Any]) -> None:
    assert loop.current(loop.read(state, beats([SEARCH] * 4)), {}) is not None


def test_ring_is_bounded() -> None:
    state = loop.read({}, beats(others(200)))
    assert len(state["ring"]) == RING
