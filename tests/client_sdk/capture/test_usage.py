"""Providers count differently; the SDK always includes cached tokens in input and reasoning in output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import clevagent
import pytest
from clevagent.capture.usage import anthropic_counts, google_counts, openai_counts, report
from clevagent.recorder import Recorder

CASES: list[tuple[Callable[[Any], dict[str, int]], dict[str, Any], tuple[int, int, int, int, int]]] = [
    (openai_counts, {"prompt_tokens": 9, "completion_tokens": 5}, (9, 5, 0, 0, 0)),
    (openai_counts, {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}, (9, 0, 4, 0, 0)),
    (openai_counts, {"prompt_tokens": 9, "prompt_tokens_details": None}, (9, 0, 0, 0, 0)),
    (openai_counts, {"prompt_tokens": 9, "prompt_cache_hit_tokens": 4}, (9, 0, 4, 0, 0)),
    (openai_counts, {"completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 3}}, (0, 5, 0, 0, 3)),
    (openai_counts, {"input_tokens": 9, "output_tokens": 5}, (9, 5, 0, 0, 0)),
    (openai_counts, {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}}, (9, 0, 4, 0, 0)),
    (openai_counts, {"prompt_tokens": None, "completion_tokens": "5"}, (0, 0, 0, 0, 0)),
    (anthropic_counts, {"input_tokens": 2, "output_tokens": 5}, (2, 5, 0, 0, 0)),
    (
        anthropic_counts,
        {"input_tokens": 2, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3, "output_tokens": 5},
        (9, 5, 4, 3, 0),
    ),
    (anthropic_counts, {"input_tokens": 2, "cache_read_input_tokens": None}, (2, 0, 0, 0, 0)),
    (google_counts, {"promptTokenCount": 9, "candidatesTokenCount": 5}, (9, 5, 0, 0, 0)),
    (google_counts, {"prompt_token_count": 9, "candidates_token_count": 5}, (9, 5, 0, 0, 0)),
    (google_counts, {"promptTokenCount": 9, "cachedContentTokenCount": 4}, (9, 0, 4, 0, 0)),
    (google_counts, {"candidatesTokenCount": 5, "thoughtsTokenCount": 3}, (0, 8, 0, 0, 3)),
    (google_counts, {"promptTokenCount": 9, "toolUsePromptTokenCount": 2}, (11, 0, 0, 0, 0)),
]


@pytest.mark.parametrize(("counts", "usage", "expected"), CASES)
def test_counts_are_normalised(
    counts: Callable[[Any], dict[str, int]], usage: dict[str, Any], expected: tuple[int, ...]
) -> None:
    found = counts(usage)
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
    assert tuple(found.get(name, 0) for name in names) == expected


BILLED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        anthropic_counts(
            {
                "input_tokens": 2,
                "cache_creation_input_tokens": 30,
                "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
                "server_tool_use": {"web_search_requests": 3},
                "service_tier": "batch",
                "inference_geo": "us",
            }
        ),
        {
            "cache_write_tokens": 30,
            "cache_write_1h_tokens": 20,
            "web_searches": 3,
            "service_tier": "batch",
            "region": "us",
        },
    ),
    (
        openai_counts(
            {
                "prompt_tokens": 9,
                "completion_tokens": 8,
                "prompt_tokens_details": {"audio_tokens": 4},
                "completion_tokens_details": {"audio_tokens": 3},
            },
            "flex",
        ),
        {"input_audio_tokens": 4, "output_audio_tokens": 3, "service_tier": "flex"},
    ),
    (
        google_counts(
            {
                "promptTokenCount": 9,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 2},
                    {"modality": "AUDIO", "tokenCount": 7},
                ],
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 5}, None],
                "trafficType": "ON_DEMAND",
            }
        ),
        {"input_audio_tokens": 7, "output_image_tokens": 5},
    ),
    (openai_counts({"prompt_tokens": 9, "prompt_tokens_details": {"audio_tokens": "many"}}, 5), {}),
    (openai_counts({"prompt_tokens": 9}, "default"), {}),
    (anthropic_counts({"input_tokens": 2, "service_tier": "standard", "inference_geo": "not_available"}), {}),
    (
        google_counts({"promptTokenCount": 9, "trafficType": "PROVISIONED_THROUGHPUT"}),
        {"service_tier": "PROVISIONED_THROUGHPUT"},
    ),
]
DETAILS = {
    "cache_write_1h_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "output_image_tokens",
    "web_searches",
    "service_tier",
    "region",
}


@pytest.mark.parametrize(("found", "billed"), BILLED)
def test_what_is_billed_on_its_own_is_told(found: dict[str, Any], billed: dict[str, Any]) -> None:
    assert billed.items() <= found.items()
    assert DETAILS & found.keys() == DETAILS & billed.keys()


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(clevagent, "log_usage", lambda **use: found.append(use))
    return found


@pytest.mark.parametrize("counts", [{}, {"input_tokens": 0, "output_tokens": 0}, {"service_tier": "default"}])
def test_unknown_usage_is_not_zero(counts: dict[str, int], reported: list[Any]) -> None:
    report(model="m", provider=None, call_id="id", counts=counts)
    assert reported == []


def test_tokens_without_a_model_are_counted(reported: list[Any]) -> None:
    report(model=None, provider="google", call_id="", counts={"input_tokens": 5})
    assert reported == [{"model": "unknown", "provider": "google", "call_id": None, "input_tokens": 5}]


@pytest.mark.parametrize(
    ("call_id", "sizes", "counted"),
    [
        ("chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", [5, 5, 6], [5]),
        # Ollama has only 999 ids, so a different size means a different call.
        ("chatcmpl-7", [5, 5, 6], [5, 6]),
        (None, [5, 5, 6], [5, 5, 6]),
    ],
)
def test_call_with_two_observers_counts_once(call_id: str | None, sizes: list[int], counted: list[int]) -> None:
    recorder = Recorder(lambda: 0.0)
    for size in sizes:
        recorder.add_usage({"model": "m", "input_tokens": size}, call_id)
    assert [use["input_tokens"] for use in recorder.counters.usage] == counted
