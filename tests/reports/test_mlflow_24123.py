"""https://github.com/mlflow/mlflow/issues/24123

Half an emoji in one item loses the whole batch.
"""

from __future__ import annotations

from agents.domain.heartbeat import Beat
from agents.domain.wire.decoding import decode_batch


def test_half_an_emoji_costs_only_itself() -> None:
    body = rb'{"heartbeats": [{"agent": "a"}, {"agent": "b", "message": "\ud83e", "tokens_used": 5}]}'
    first, second = decode_batch(body)
    assert isinstance(first, Beat)
    assert isinstance(second, Beat)
    assert (second.tokens, second.message, list(second.left_out or ())) == (5, "\ufffd", ["message"])
