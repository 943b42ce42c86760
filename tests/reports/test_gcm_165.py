"""https://github.com/facebookresearch/gcm/pull/165

A mean over no samples is NaN, and every metric vanishes for days.
"""

from __future__ import annotations

import json

from clevagent.transport import encode

from agents.domain.wire.decoding import decode


def test_not_a_number_costs_only_itself() -> None:
    body = json.dumps({"agent": "a", "memory_mb": float("nan"), "tokens_used": 7}).encode()
    beat = decode(body)
    assert (beat.tokens, beat.memory_mb, list(beat.left_out or ())) == (7, None, ["memory_mb"])


def test_client_never_sends_one() -> None:
    assert json.loads(encode({"a": [float("nan"), 1.5], "b": float("-inf")})) == {"a": [None, 1.5], "b": None}
