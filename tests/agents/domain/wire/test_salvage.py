"""Whatever stands in one field, the heartbeat keeps its name and its sums, and what is lost is named."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from agents.domain.heartbeat import Beat, ToolCall, Usage, Waiting
from agents.domain.wire import salvage
from agents.domain.wire.decoding import decode, decode_batch
from agents.domain.wire.salvage import salvaged

GOOD: dict[str, Any] = {
    "status": "warning",
    "message": "step 1",
    "tokens_used": 1200,
    "cost_usd": 0.9,
    "tool_calls": 2,
    "iteration_count": 5,
    "tool_call_log": [{"name": "search", "args": "x", "args_hash": "a1", "result_hash": "b2", "ms": 1.5, "ok": True}],
    "prompt_hashes": ["aa", "bb"],
    "memory_mb": 10.5,
    "custom_data": "{}",
    "agent_type": "claude",
    "container_id": "abc",
    "restart_type": "docker",
    "restart_target": "abc",
    "beat_id": "1",
    "sent_at": "2030-01-01T00:00:00Z",
    "seq": 3,
    "instance": "i",
    "sdk": "s",
    "interval": 2_592_000,
    "progress": True,
    "progress_age": 1.0,
    "progress_timeout": 691_200,
    "usage": [{"model": "m", "provider": "p", "input_tokens": 1, "cost_usd": 0.1}],
    "cost_limit_usd": 10,
    "waiting": {"for": "approval", "until": "2030-01-01T00:00:00Z"},
    "doing": {"tool": "search", "since": "2030-01-01T00:00:00Z"},
    "labels": {"team": "a"},
    "evidence": {"restarts": 1, "ok": True, "unit": "a"},
    "age": 0.5,
}
BAD: dict[str, Any] = {
    "NaN": float("nan"),
    "infinity": float("inf"),
    "huge": 2**70,
    "negative": -1,
    "text": "not a number \ud83d",
    "long text": "x" * 40_000,
    "NUL": "a\0b",
    "true": True,
    "list": [1, None, "\udce9", {"a": [2**70]}],
    "object": {"a": {"b": float("nan")}, "": None, "for": 5, "name": [], "model": {}},
    "naive time": "2030-01-01T00:00:00",
    "year 0": "0000-00-00T00:00:00Z",
    "nested": [[[[[[]]]]]],
    "empty list": [],
    "empty object": {},
    "blank": "",
}


def body_of(**fields: Any) -> bytes:
    return json.dumps({"agent": "bot", "tokens_used": 7, "cost_usd": 0.5, **fields}).encode()


@pytest.mark.parametrize("field", GOOD)
@pytest.mark.parametrize("bad", BAD)
def test_one_bad_field_never_costs_the_rest(field: str, bad: str) -> None:
    beat = decode(body_of(**{field: BAD[bad]}))
    assert beat.agent == "bot"
    assert field == "tokens_used" or beat.tokens >= 7
    assert field == "cost_usd" or beat.cost >= 500_000
    stored = msgspec.json.encode([beat.content(), beat.left_out]).decode()
    assert "\\u0000" not in stored
    assert set(beat.left_out or ()) <= {field}


TEXTS = ("message", "custom_data", "container_id", "restart_target", "beat_id", "instance")


@pytest.mark.parametrize("field", [field for field in GOOD if field not in TEXTS])
def test_lost_fields_are_named(field: str) -> None:
    """Of a list with nothing in it that a field could mean, not all can be kept; a text keeps it as JSON."""
    beat = decode(body_of(**{field: BAD["list"]}))
    assert list(beat.left_out or ()) == [field]


def test_good_fields_are_the_same_both_ways() -> None:
    body = body_of(**GOOD)
    assert decode(body) == salvaged(json.loads(body), body)
    assert decode(body).left_out is None


CONVERTED: dict[str, tuple[str, Any, Any]] = {
    "number as text": ("tokens_used", "1200", 1200),
    "cost as text": ("cost_usd", "0.9", 0.9),
    "status in capitals": ("status", " ERROR ", "error"),
    "unknown status": ("status", "failed", "warning"),
    "message as a number": ("message", 5, "5"),
    "custom data as an object": ("custom_data", {"a": 1}, '{"a": 1}'),
    "wait as a text": ("waiting", "approval", Waiting("approval")),
    "wait until no known time": ("waiting", {"for": "x", "until": "2030-01-01T00:00:00"}, Waiting("x")),
    "label as a number": ("labels", {"version": 3}, {"version": "3"}),
    "progress as a number": ("progress", 1, True),
    "usage as one object": ("usage", {"model": "m", "input_tokens": 5}, [Usage("m", input_tokens=5)]),
    "call as one object": ("tool_call_log", {"name": "search"}, [ToolCall("search")]),
    "month": ("interval", 2_592_000, 2_592_000),
}


@pytest.mark.parametrize(("field", "sent", "kept"), CONVERTED.values(), ids=CONVERTED)
def test_plain_meanings_are_kept(field: str, sent: Any, kept: Any) -> None:
    assert getattr(decode(body_of(**{field: sent})), field) == kept


def test_first_twenty_labels_are_kept() -> None:
    beat = decode(body_of(labels={f"k{number}": "v" for number in range(30)}))
    assert beat.labels == {f"k{number}": "v" for number in range(20)}
    assert "k29" in (beat.left_out or {})["labels"]


def test_calls_beyond_the_log_are_counted() -> None:
    beat = decode(body_of(tool_call_log=[{"name": f"t{number}"} for number in range(80)]))
    assert (beat.calls, len(beat.tool_call_log or ())) == (80, 50)


def test_usage_beyond_the_limit_keeps_its_price() -> None:
    """It is added to an entry of the same tier, and says that it sums up more calls than one."""
    kept = [{"model": "m", "service_tier": tier, "input_tokens": 1} for tier in ("default", "batch")]
    filler = [{"model": f"m{number}"} for number in range(198)]
    more = [{"model": "m", "service_tier": "batch", "input_tokens": 5, "calls": 2}]
    uses = decode(body_of(usage=[*kept, *filler, *more])).usage or []
    assert [(use.service_tier, use.input_tokens, use.calls) for use in uses[:2]] == [("default", 1, 1), ("batch", 6, 3)]


@pytest.mark.parametrize("calls", [0, -1, "many", 10**9])
def test_impossible_number_of_calls_is_left_out(calls: Any) -> None:
    (use,) = decode(body_of(usage=[{"model": "m", "calls": calls, "input_tokens": 7}])).usage or []
    assert (use.calls >= 1, use.input_tokens) == (True, 7)


def test_usage_beyond_the_limit_is_added() -> None:
    beat = decode(body_of(usage=[{"model": f"m{number % 2}", "input_tokens": 1} for number in range(300)]))
    assert len(beat.usage or ()) == 200
    assert sum(use.input_tokens for use in beat.usage or ()) == 300


def test_bad_count_costs_only_itself() -> None:
    beat = decode(body_of(usage=[{"model": "m", "input_tokens": -1, "output_tokens": 7}, 3]))
    assert beat.usage == [Usage("m", output_tokens=7)]
    assert "entry 2" in (beat.left_out or {})["usage"]


def test_same_long_id_is_the_same_beat() -> None:
    first, again, other = (decode(body_of(beat_id=text)).beat_id for text in ("x" * 99, "x" * 99, "x" * 98))
    assert first == again != other
    assert len(first or "") == 64


def test_batch_keeps_every_heartbeat_with_a_name() -> None:
    raw = rb'{"heartbeats": [{"agent": "b1"}, {"agent": "b2", "message": "\ud83d"}, {"agent": ""}, 5, {"agent": "b3"}]}'
    names = [item.agent if isinstance(item, Beat) else item.code for item in decode_batch(raw)]
    assert names == ["b1", "b2", "invalid", "invalid", "b3"]


def test_reasons_stay_short() -> None:
    beat = decode(body_of(tool_call_log=[5] * 50, usage=[5] * 500))
    assert all(len(why) <= salvage.MAX_REASON_LENGTH for why in (beat.left_out or {}).values())
