"""Finds a model in the price list by the names that clients, gateways and clouds give it. Pure.

A gateway's name may say more than the provider's: `openai/gpt-4o`, `bedrock/us.anthropic.claude-…`,
`publishers/google/models/gemini-2.5-pro`, `deepseek-r1:nitro`. Nothing is fetched: the list is the installed version of
the `genai-prices` package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from genai_prices import data_snapshot
from genai_prices.types import ModelInfo, Provider

# Provider names that clients, gateways and conventions use but the price list does not know.
ALIASES: Final = {
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure_ai": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "amazon_bedrock": "aws",
    "aws.bedrock": "aws",
    "fireworks_ai": "fireworks",
    "gcp.gen_ai": "google",
    "gcp.gemini": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "google_genai": "google",
    "vertex_ai": "google",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "together_ai": "together",
    "voyage": "voyageai",
    "x_ai": "x-ai",
}
# The resource names of Google's APIs, and what OpenRouter appends to choose among the hosts of a model.
_RESOURCE: Final = re.compile(r"(?:projects/[^/]+/locations/[^/]+/)?(?:publishers/[^/]+/)?models/(?=[^/]+$)")
_VARIANT: Final = re.compile(r":(?:nitro|floor|exacto|beta|extended)$")
FREE: Final = ":free"


class Listed(NamedTuple):
    """A model of the price list, and the id of the provider whose prices these are."""

    provider: str
    model: ModelInfo


# Looked up here because the package caches misses without a bound.
@lru_cache(maxsize=4096)
def find(provider_id: str | None, name: str) -> Listed | None:
    """Return the model, by the provider's own names first, then by what a gateway put around them."""
    providers = data_snapshot.get_snapshot().providers
    for provider, model_name in _readings(providers, provider_id, name):
        model = provider.find_model(model_name, all_providers=providers) if model_name else None
        if model is not None:
            return Listed(provider.id, model)
    return None


def _readings(providers: list[Provider], provider_id: str | None, name: str) -> Iterator[tuple[Provider, str]]:
    """What the names may mean, likeliest first."""
    bare = _VARIANT.sub("", _RESOURCE.sub("", name))
    given = _provider(providers, provider_id)
    if given is not None:
        yield given, name
        yield given, bare
    prefix, slash, rest = bare.partition("/")
    named = _provider(providers, prefix) if slash else None
    if named is not None:
        yield named, rest
        # A gateway in front of a gateway: `openrouter/openai/gpt-4o`, `vertex_ai/publishers/google/models/…`.
        yield from _readings(providers, named.id, rest) if "/" in rest else ()
    if given is None:
        # A host that the list does not know passes on its maker's prices; a model with many hosts has no one price.
        maker = next((each for each in providers if each.model_match and each.model_match.is_match(bare.lower())), None)
        yield from [(maker, bare)] if maker else _only_host(providers, bare)


def _only_host(providers: list[Provider], name: str) -> Iterator[tuple[Provider, str]]:
    hosts = [each for each in providers if name and each.find_model(name, all_providers=None) is not None]
    if len(hosts) == 1:
        yield hosts[0], name


def _provider(providers: list[Provider], name: str | None) -> Provider | None:
    if not name:
        return None
    known = ALIASES.get(name.lower().replace("-", "_"), name)
    return data_snapshot.find_provider_by_id(providers, known)
