"""What chats with an incoming webhook have in common: its secret URL is their only setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from alerts.channels import http
from alerts.channels.base import ConfigError


class WithUrl(Protocol):
    @property
    def url(self) -> str: ...


Config = TypeVar("Config", bound=WithUrl)


def parse(data: Mapping[str, Any], config: type[Config]) -> Config:
    """Validate stored or entered settings. Raises `ConfigError`."""
    try:
        settings = msgspec.convert(data, config)
    except msgspec.ValidationError:
        raise ConfigError("url", "Enter the URL of the webhook.") from None
    http.check_url(settings.url)
    return settings


def generate() -> dict[str, str]:
    """Nothing is generated: the receiver made the URL."""
    return {}


def public(data: Mapping[str, Any]) -> dict[str, Any]:
    """Anyone who has the URL can post, so only its host and last four characters are shown."""
    return {"url": http.shortened(str(data.get("url", "")))}


def post(config: WithUrl, message: Mapping[str, Any]) -> http.Reply:
    """Post a message as JSON."""
    return http.post(config.url, msgspec.json.encode(message), {"Content-Type": "application/json"})
