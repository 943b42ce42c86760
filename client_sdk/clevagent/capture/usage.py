"""Converts each provider's usage into the arguments of `clevagent.log_usage`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import clevagent
from clevagent import limits

Usage = Mapping[str, Any]


def report(
    *, model: Any, provider: str | None, call_id: Any, counts: Mapping[str, int], is_counted: bool = True
) -> None:
    """Report the call unless its size is unknown, which is not zero. Without a model it has no price.

    `is_counted`: it was counted as a call when it was sent.
    """
    if any(counts.values()):
        with limits.captured(is_counted):
            clevagent.log_usage(
                model=str(model or "unknown"), provider=provider, call_id=str(call_id) if call_id else None, **counts
            )


def openai_counts(usage: Usage) -> dict[str, int]:
    """OpenAI's chat and embeddings (prompt_tokens …) and responses (input_tokens …). Both include cached tokens."""
    into = _details(usage, "prompt_tokens_details", "input_tokens_details")
    out = _details(usage, "completion_tokens_details", "output_tokens_details")
    return {
        "input_tokens": count(usage, "prompt_tokens", "input_tokens"),
        "output_tokens": count(usage, "completion_tokens", "output_tokens"),
        # The alternatives are the names of DeepSeek and of old LiteLLM.
        "cache_read_tokens": count(into, "cached_tokens")
        or count(usage, "prompt_cache_hit_tokens", "cache_read_input_tokens"),
        "cache_write_tokens": count(into, "cache_write_tokens", "cache_creation_tokens")
        or count(usage, "cache_creation_input_tokens"),
        "reasoning_tokens": count(out, "reasoning_tokens"),
    }


def anthropic_counts(usage: Usage) -> dict[str, int]:
    """Anthropic's messages. Their input_tokens exclude tokens read from and written to the cache."""
    read = count(usage, "cache_read_input_tokens")
    write = count(usage, "cache_creation_input_tokens")
    return {
        "input_tokens": count(usage, "input_tokens") + read + write,
        "output_tokens": count(usage, "output_tokens"),
        "cache_read_tokens": read,
        "cache_write_tokens": write,
        "reasoning_tokens": count(_details(usage, "output_tokens_details"), "thinking_tokens"),
    }


def google_counts(usage: Usage) -> dict[str, int]:
    """Google's usage metadata. Candidates exclude thoughts; the prompt excludes results of Google's own tools."""
    thoughts = count(usage, "thoughtsTokenCount", "thoughts_token_count")
    tools = count(usage, "toolUsePromptTokenCount", "tool_use_prompt_token_count")
    return {
        "input_tokens": count(usage, "promptTokenCount", "prompt_token_count") + tools,
        "output_tokens": count(usage, "candidatesTokenCount", "candidates_token_count") + thoughts,
        "cache_read_tokens": count(usage, "cachedContentTokenCount", "cached_content_token_count"),
        "reasoning_tokens": thoughts,
    }


def count(usage: Usage, *names: str) -> int:
    """Return the first of these values that is a positive number, else 0."""
    values = (usage.get(name) for name in names)
    return next((int(value) for value in values if isinstance(value, (int, float)) and value > 0), 0)


def _details(usage: Usage, *names: str) -> Usage:
    values = (usage.get(name) for name in names)
    return next((value for value in values if isinstance(value, Mapping)), {})
