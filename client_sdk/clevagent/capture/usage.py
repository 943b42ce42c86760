"""Converts each provider's usage into the arguments of `clevagent.log_usage`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import clevagent
from clevagent import limits

Usage = Mapping[str, Any]
# Tiers and regions that are billed at the list price, which is what the server assumes.
USUAL = {"", "default", "standard", "on_demand", "global", "not_available"}


def report(
    *, model: Any, provider: str | None, call_id: Any, counts: Mapping[str, Any], is_counted: bool = True
) -> None:
    """Report the call unless its size is unknown, which is not zero. Without a model it has no price.

    `is_counted`: it was counted as a call when it was sent.
    """
    if any(value for value in counts.values() if isinstance(value, int)):
        with limits.captured(is_counted):
            clevagent.log_usage(
                model=str(model or "unknown"), provider=provider, call_id=str(call_id) if call_id else None, **counts
            )


def openai_counts(usage: Usage, service_tier: Any = None) -> dict[str, Any]:
    """OpenAI's chat and embeddings (prompt_tokens …) and responses (input_tokens …). Both include cached tokens.

    `service_tier` is the answer's, which tells the tier that was billed.
    """
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
        **_told(
            input_audio_tokens=count(into, "audio_tokens"),
            output_audio_tokens=count(out, "audio_tokens"),
            input_image_tokens=count(into, "image_tokens"),
            service_tier=_name(service_tier),
        ),
    }


def anthropic_counts(usage: Usage) -> dict[str, Any]:
    """Anthropic's messages. Their input_tokens exclude tokens read from and written to the cache."""
    read = count(usage, "cache_read_input_tokens")
    write = count(usage, "cache_creation_input_tokens")
    return {
        "input_tokens": count(usage, "input_tokens") + read + write,
        "output_tokens": count(usage, "output_tokens"),
        "cache_read_tokens": read,
        "cache_write_tokens": write,
        "reasoning_tokens": count(_details(usage, "output_tokens_details"), "thinking_tokens"),
        **_told(
            cache_write_1h_tokens=count(_details(usage, "cache_creation"), "ephemeral_1h_input_tokens"),
            web_searches=count(_details(usage, "server_tool_use"), "web_search_requests"),
            service_tier=_name(usage.get("service_tier")),
            region=_name(usage.get("inference_geo")),
        ),
    }


def google_counts(usage: Usage) -> dict[str, Any]:
    """Google's usage metadata. Candidates exclude thoughts; the prompt excludes results of Google's own tools."""
    thoughts = count(usage, "thoughtsTokenCount", "thoughts_token_count")
    tools = count(usage, "toolUsePromptTokenCount", "tool_use_prompt_token_count")
    return {
        "input_tokens": count(usage, "promptTokenCount", "prompt_token_count") + tools,
        "output_tokens": count(usage, "candidatesTokenCount", "candidates_token_count") + thoughts,
        "cache_read_tokens": count(usage, "cachedContentTokenCount", "cached_content_token_count"),
        "reasoning_tokens": thoughts,
        **_told(
            input_audio_tokens=_of_modality(usage, "AUDIO", "promptTokensDetails", "prompt_tokens_details"),
            output_audio_tokens=_of_modality(usage, "AUDIO", "candidatesTokensDetails", "candidates_tokens_details"),
            cache_audio_read_tokens=_of_modality(usage, "AUDIO", "cacheTokensDetails", "cache_tokens_details"),
            output_image_tokens=_of_modality(usage, "IMAGE", "candidatesTokensDetails", "candidates_tokens_details"),
            service_tier=_name(usage.get("trafficType") or usage.get("traffic_type")),
        ),
    }


def _of_modality(usage: Usage, modality: str, *names: str) -> int:
    found: list[Any] = next((usage[name] for name in names if isinstance(usage.get(name), list)), [])
    return sum(
        count(each, "tokenCount", "token_count")
        for each in found
        if isinstance(each, Mapping) and str(each.get("modality")).rpartition(".")[2].upper() == modality
    )


def _told(**fields: Any) -> dict[str, Any]:
    """Only what was said: most calls have none of it."""
    return {name: value for name, value in fields.items() if value}


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and value.lower() not in USUAL else None


def count(usage: Usage, *names: str) -> int:
    """Return the first of these values that is a positive number, else 0."""
    values = (usage.get(name) for name in names)
    return next((int(value) for value in values if isinstance(value, (int, float)) and value > 0), 0)


def _details(usage: Usage, *names: str) -> Usage:
    values = (usage.get(name) for name in names)
    return next((value for value in values if isinstance(value, Mapping)), {})
