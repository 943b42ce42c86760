"""Queued heartbeats: ordered, bounded, and never lost."""

from __future__ import annotations

from typing import Any

import pytest
from clevagent.outbox import MAX_BATCH, MAX_WAIT, Heartbeat, Outbox


def beat(place: int, *, wall: float | None = None, **fields: Any) -> Heartbeat:
    made = float(place) if wall is None else wall
    return Heartbeat({"beat_id": str(place), "tokens_used": 1, **fields}, float(place), made)


def filled(count: int, most: int, **fields: Any) -> Outbox:
    outbox = Outbox(most, jitter=lambda: 1.0)
    for place in range(count):
        outbox.add(beat(place, **fields))
    return outbox


def ids(outbox: Outbox) -> list[str]:
    return [waiting.fields["beat_id"] for waiting in outbox]


def tokens(outbox: Outbox) -> int:
    return sum(int(waiting.fields["tokens_used"]) for waiting in outbox)


def test_oldest_heartbeat_is_sent_first() -> None:
    assert [found.fields["beat_id"] for found in filled(3, 10).next_batch(0)] == ["0", "1", "2"]


def test_neighbours_are_merged_when_full() -> None:
    outbox = filled(1000, 10)
    assert len(outbox) == 10
    assert tokens(outbox) == 1000


def test_endless_errors_are_bounded() -> None:
    outbox = filled(1000, 10, status="error")
    assert len(outbox) == 10
    assert tokens(outbox) == 1000


def test_sent_heartbeats_are_never_merged() -> None:
    outbox = filled(5, 5)
    for found in outbox.next_batch(0)[:4]:
        found.tried = True
    outbox.add(beat(5))
    outbox.add(beat(6))
    assert ids(outbox) == ["0", "1", "2", "3", "6"]
    assert tokens(outbox) == 7


def test_errors_are_merged_last() -> None:
    outbox = Outbox(3)
    for place, status in enumerate(["ok", "error", "ok", "ok"]):
        outbox.add(beat(place, status=status))
    assert ids(outbox) == ["0", "1", "3"]


def test_merging_keeps_spend_in_its_hour() -> None:
    outbox = Outbox(3)
    for place, wall in enumerate([3590.0, 3610.0, 3620.0, 7210.0]):
        outbox.add(beat(place, wall=wall))
    assert [found.wall for found in outbox] == [3590.0, 3620.0, 7210.0]


def test_batches_are_limited_in_count_and_bytes() -> None:
    assert len(filled(150, 200).next_batch(0)) == MAX_BATCH
    outbox = filled(5, 10)
    for found in outbox:
        found.fields["message"] = "x" * 400_000
    assert len(outbox.next_batch(0)) == 1


def test_retry_delay_grows_until_an_answer() -> None:
    outbox, waits = filled(1, 10), []
    for _ in range(9):
        outbox.failed(0)
        waits.append(outbox.next_try_at)
    assert waits == [1, 2, 4, 8, 16, 32, MAX_WAIT, MAX_WAIT, MAX_WAIT]
    assert outbox.next_batch(59.9) == []
    assert len(outbox.next_batch(60)) == 1
    outbox.answered()
    outbox.failed(0)
    assert outbox.next_try_at == 1


def test_retry_delays_are_jittered() -> None:
    early, late = Outbox(jitter=lambda: 0.0), Outbox(jitter=lambda: 1.0)
    early.failed(0)
    late.failed(0)
    assert (early.next_try_at, late.next_try_at) == (0.5, 1)


def test_retry_after_is_respected() -> None:
    outbox = filled(1, 10)
    outbox.failed(100, retry_after=42)
    assert outbox.next_try_at == 142


@pytest.mark.parametrize("sums", [{}, {"tokens_used": 1}, {"usage": [{"model": "m", "input_tokens": 3}]}])
@pytest.mark.parametrize("status", ["ok", "error", "shutdown"])
def test_refused_heartbeat_keeps_life_and_totals(sums: dict[str, Any], status: str) -> None:
    outbox = Outbox()
    known = {"agent": "bot", "status": status, "beat_id": "1", **sums}
    found = Heartbeat({**known, "message": "x", "labels": {"a": "b"}}, 0, 0)
    outbox.add(found)
    assert outbox.refused(found) is True
    assert [waiting.fields for waiting in outbox] == [known]
    assert outbox.refused(found) is False
    assert len(outbox) == 0
