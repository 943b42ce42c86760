"""Payloads as the senders document them, and requests signed as the senders sign them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures" / "webhooks"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
NOW = datetime(2026, 11, 30, 10, 10, tzinfo=UTC)


def payload(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def hexed(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def standard(body: bytes, at: datetime, secret: str = SECRET) -> dict[str, str]:
    """As GitLab signs with a signing token, by Standard Webhooks."""
    stamp, key = str(int(at.timestamp())), base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"msg_1.{stamp}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": "msg_1", "webhook-timestamp": stamp, "webhook-signature": signature}


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"prometheus:{password}".encode()).decode()


def headers_of(kind: str, event: str, body: bytes, secret: str = SECRET) -> dict[str, str]:
    """What the sender puts on a request, for the event of a payload's file."""
    return {
        "github": {
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": "0b989ba4-242f-11e5-81e1-c7b6966d2516",
            "X-Hub-Signature-256": f"sha256={hexed(body, secret)}",
        },
        "gitlab": {"X-Gitlab-Event": "Deployment Hook", "X-Gitlab-Token": secret},
        "alertmanager": {"Authorization": f"Bearer {secret}"},
        "sentry": {
            "Sentry-Hook-Resource": event,
            "Sentry-Hook-Timestamp": str(int(NOW.timestamp())),
            "Sentry-Hook-Signature": hexed(body, secret),
        },
    }[kind]
