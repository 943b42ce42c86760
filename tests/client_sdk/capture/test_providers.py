from __future__ import annotations

from typing import Any

import pytest
from clevagent.capture.providers import CLASSES, HOSTS, LITELLM, provider_of
from genai_prices import data_snapshot


def client_of(*names: str) -> Any:
    cls: type = object
    for name in reversed(names):
        cls = type(name, (cls,), {})
    return cls()


@pytest.mark.parametrize(
    ("client", "host", "expected"),
    [
        (client_of("OpenAI"), "api.openai.com", "openai"),
        (client_of("OpenAI"), "eu.api.openai.com", "openai"),
        (client_of("OpenAI"), "openrouter.ai", "openrouter"),
        (client_of("OpenAI"), "api.groq.com", "groq"),
        (client_of("OpenAI"), "generativelanguage.googleapis.com", "google"),
        (client_of("AzureOpenAI", "OpenAI"), "mine.openai.azure.com", "azure"),
        (client_of("AsyncAzureOpenAI", "AsyncOpenAI"), "gateway.example.com", "azure"),
        (client_of("Anthropic"), "api.anthropic.com", "anthropic"),
        (client_of("AnthropicVertex"), "us-east5-aiplatform.googleapis.com", "google"),
        (client_of("AnthropicBedrock"), "bedrock-runtime.eu-west-1.amazonaws.com", "aws"),
        (client_of("Mine", "AnthropicBedrock"), "127.0.0.1", "aws"),
        # A custom gateway or a look-alike: the provider is unknown.
        (client_of("OpenAI"), "gateway.example.com", None),
        (client_of("OpenAI"), "127.0.0.1", None),
        (client_of("OpenAI"), "notapi.openai.com.example.com", None),
        (client_of("OpenAI"), "fakeopenrouter.ai", None),
    ],
)
def test_provider_follows_the_request(client: Any, host: str, expected: str | None) -> None:
    assert provider_of(client, host) == expected


def test_provider_names_are_in_the_price_list() -> None:
    known = {provider.id for provider in data_snapshot.get_snapshot().providers}
    assert {*HOSTS.values(), *CLASSES.values(), *LITELLM.values()} <= known
