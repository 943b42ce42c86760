"""The provider that bills a call, under the name used in price lists."""

from __future__ import annotations

HOSTS = {
    "api.anthropic.com": "anthropic",
    "api.openai.com": "openai",
    "openai.azure.com": "azure",
    "cognitiveservices.azure.com": "azure",
    "services.ai.azure.com": "azure",
    "azure-api.net": "azure",
    "amazonaws.com": "aws",
    "api.aws": "aws",
    "googleapis.com": "google",
    "api.cerebras.ai": "cerebras",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks",
    "api.groq.com": "groq",
    "api.minimax.io": "minimax",
    "api.mistral.ai": "mistral",
    "api.moonshot.ai": "moonshotai",
    "api.moonshot.cn": "moonshotai",
    "api.perplexity.ai": "perplexity",
    "api.together.ai": "together",
    "api.together.xyz": "together",
    "api.voyageai.com": "voyageai",
    "api.x.ai": "x-ai",
    "api.z.ai": "zai",
    "openrouter.ai": "openrouter",
}
# LiteLLM's names where they differ.
LITELLM = {
    "azure_ai": "azure",
    "azure_text": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "moonshot": "moonshotai",
    "text-completion-openai": "openai",
    "together_ai": "together",
    "vertex_ai": "google",
    "vertex_ai_beta": "google",
    "voyage": "voyageai",
    "xai": "x-ai",
}
CLASSES = {"Azure": "azure", "Bedrock": "aws", "Foundry": "azure", "Vertex": "google"}


def provider_of(client: object, host: str) -> str | None:
    """Return the provider by the request's host, else by the client's class; None for an unknown gateway."""
    for known, name in HOSTS.items():
        if host == known or host.endswith(f".{known}"):
            return name
    classes = [cls.__name__ for cls in type(client).__mro__]
    return next((name for word, name in CLASSES.items() if any(word in cls for cls in classes)), None)
