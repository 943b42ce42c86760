"""A webhook, signed according to Standard Webhooks: every event in full, for programs."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec
from standardwebhooks import Webhook

from alerts.channels import http
from alerts.channels.base import ChannelError, ConfigError, Message

KIND: Final = "webhook"
LABEL: Final = "Webhook"
SENDS_ACKNOWLEDGEMENTS: Final = True
# A part of a path that everyone may see: `hooks`, `incoming-alerts`, `v2`. Tokens have digits or capitals.
WORDS: Final = re.compile(r"[a-z]{1,12}([-_.][a-z]{1,12}){0,3}|v\d")


class Config(msgspec.Struct, frozen=True):
    url: Annotated[str, msgspec.Meta(title="URL", description="We POST signed JSON for every event. Use HTTPS.")]
    secret: str


def parse(data: Mapping[str, Any]) -> Config:
    """`{"url": "https://…"}`; the secret is generated."""
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError:
        raise ConfigError("url", "Enter the URL to post to.") from None
    http.check_url(config.url)
    return config


def generate() -> dict[str, str]:
    """A secret of 32 random bytes: `whsec_…`."""
    return {"secret": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()}


def public(data: Mapping[str, Any]) -> dict[str, Any]:
    """The URL without what may be a token: its query, and parts of the path that are no plain words."""
    url = urlsplit(str(data.get("url", "")))
    host = f"{url.hostname or ''}{f':{url.port}' if url.port else ''}"
    path = "/".join(part if not part or WORDS.fullmatch(part) else "…" for part in url.path.split("/"))
    return {"url": f"{url.scheme}://{host}{path}{'?…' if url.query else ''}"}


def send(config: Config, message: Message) -> None:
    body, headers = sign(config.secret, message, datetime.now(UTC))
    reply = http.post(config.url, body, headers)
    if 200 <= reply.status < 300:
        return
    if reply.status == 410:
        raise ChannelError("The receiver answered 410 (Gone): it wants no more messages.", permanent=True, disable=True)
    raise ChannelError(http.describe(reply), retry_after=reply.retry_after)


def sign(secret: str, message: Message, now: datetime) -> tuple[bytes, dict[str, str]]:
    """The exact bytes to send, and their headers. `now` is the time of this attempt, in UTC."""
    at = message.at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    body = msgspec.json.encode({"type": message.type, "timestamp": at, "data": message.payload})
    return body, {
        "Content-Type": "application/json",
        "webhook-id": message.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message.id, now, body.decode()),
    }
