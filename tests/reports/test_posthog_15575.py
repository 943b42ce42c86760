"""https://github.com/PostHog/posthog/issues/15575

One event without an identity poisons its batch, and nothing says which.
"""

from __future__ import annotations

import json

from agents.domain.heartbeat import Beat
from agents.domain.wire.decoding import decode_batch
from teams.errors import ApiError


def test_only_the_nameless_heartbeat_is_refused() -> None:
    body = json.dumps({"heartbeats": [{"agent": "a"}, {"tokens_used": 1}, {"agent": "b"}]}).encode()
    first, second, third = decode_batch(body)
    assert isinstance(first, Beat)
    assert isinstance(third, Beat)
    assert isinstance(second, ApiError)
    assert "agent" in (second.fields or {})
