from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import clevagent
import pytest
from clevagent.capture import google_genai, streams


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(clevagent, "log_usage", lambda **use: found.append(use))
    yield found
    streams.settle(everything=True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def hear(tokens: int, **more: Any) -> None:
    body = {"usageMetadata": {"promptTokenCount": tokens}, "modelVersion": "m", "candidates": [{}], **more}
    google_genai.look(None, {"response": body, "kwargs": {}})


def test_long_stream_counts_at_its_end(reported: list[Any], clock: list[float]) -> None:
    for tokens in (1, 2, 3):
        hear(tokens, responseId="one")
        clock[0] += google_genai.SILENCE - 1
        streams.settle()
    assert reported == []
    hear(4, responseId="one", candidates=[{"finishReason": "STOP"}])
    assert [use["input_tokens"] for use in reported] == [4]


def test_silent_stream_counts_its_last_usage(reported: list[Any], clock: list[float]) -> None:
    hear(2, responseId="one")
    clock[0] += google_genai.SILENCE + 1
    streams.settle()
    assert [(use["call_id"], use["input_tokens"]) for use in reported] == [("one", 2)]


def test_without_an_id_only_the_last_chunk_counts(reported: list[Any]) -> None:
    hear(2)
    hear(3, candidates=[{"finish_reason": "STOP"}])
    assert [(use["call_id"], use["input_tokens"]) for use in reported] == [(None, 3)]


def test_refused_prompt_still_counts(reported: list[Any]) -> None:
    hear(5, responseId="one", candidates=None, promptFeedback={"blockReason": "SAFETY"})
    assert [use["input_tokens"] for use in reported] == [5]


def test_model_name_omits_its_path(reported: list[Any]) -> None:
    hear(5, candidates=None, modelVersion="publishers/google/models/gemini-2.5-flash")
    assert reported[0]["model"] == "gemini-2.5-flash"
