"""Models under the names that clients, gateways and clouds give them."""

from __future__ import annotations

import pytest

from agents.domain.price_list.names import find

NAMES = [
    ("openai", "openai/gpt-4o", "openai"),
    (None, "anthropic/claude-sonnet-4-5", "anthropic"),
    ("litellm", "anthropic/claude-sonnet-4-5", "anthropic"),
    (None, "gemini/gemini-2.5-pro", "google"),
    (None, "vertex_ai/claude-3-5-sonnet@20240620", "google"),
    (None, "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws"),
    ("aws.bedrock", "eu.anthropic.claude-sonnet-4-20250514-v1:0", "aws"),
    (None, "bedrock/converse/us.amazon.nova-lite-v1:0", "aws"),
    (None, "azure/gpt-4o", "azure"),
    ("google", "models/gemini-2.5-pro", "google"),
    (None, "publishers/google/models/gemini-2.5-pro", "google"),
    ("google", "projects/p/locations/us-central1/publishers/google/models/gemini-2.5-pro", "google"),
    ("openrouter", "deepseek/deepseek-r1:nitro", "openrouter"),
    (None, "openrouter/openai/gpt-4o", "openrouter"),
    ("litellm", "gpt-4o", "openai"),
    ("my-gateway", "claude-sonnet-4-5", "anthropic"),
    ("", "gpt-4o", "openai"),
    (None, "mistral/mistral-large-latest", "mistral"),
    (None, "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo", "together"),
    # Known to one provider only.
    (None, "llama-3.3-70b-versatile", "groq"),
    ("x-ai", "grok-4", "x-ai"),
]


@pytest.mark.parametrize(("provider", "name", "priced_by"), NAMES)
def test_model_is_found_by_other_names(provider: str | None, name: str, priced_by: str) -> None:
    found = find(provider, name)
    assert found is not None
    assert found.provider == priced_by


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("openai", "house-model"),
        (None, ""),
        (None, "/"),
        (None, "openai/"),
        ("my-gateway", "openai/house-model"),
        ("cohere", "gpt-4o"),
        # Many hosts, each with a price of its own.
        ("my-gateway", "llama-3.3-70b-instruct"),
        (None, "x/" * 40 + "house-model"),
    ],
)
def test_unknown_and_ambiguous_models_have_no_price(provider: str | None, name: str) -> None:
    assert find(provider, name) is None


def test_own_name_of_a_provider_comes_first() -> None:
    """OpenRouter names its models like gateways do, and has prices of its own."""
    found = find("openrouter", "openai/gpt-4o")
    assert found is not None
    assert found.provider == "openrouter"
