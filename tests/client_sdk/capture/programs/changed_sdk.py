"""A changed SDK, or a bug of ours: calls work, nothing is counted, one line is logged."""

from __future__ import annotations

import logging
import sys
from typing import Any

import clevagent
import openai
from clevagent.capture import usage
from openai import _base_client
from table import MODELS

said: list[str] = []
handler = logging.Handler(logging.WARNING)
handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
logging.getLogger("clevagent").addHandler(handler)
before = _base_client.BaseClient._process_response_data


def move() -> None:
    """The method has moved to another class."""
    del _base_client.BaseClient._process_response_data
    for cls in (_base_client.SyncAPIClient, _base_client.AsyncAPIClient):
        cls._process_response_data = before


def rename() -> None:
    """The method has other keywords."""

    def process(self: Any, **parts: Any) -> Any:
        return before(self, **parts)

    _base_client.BaseClient._process_response_data = process


def fail() -> None:
    """Our own code fails."""

    def broken(found: Any) -> Any:
        raise RuntimeError("ours")

    sys.modules["clevagent.capture.openai"].openai_counts = broken  # type: ignore[attr-defined]
    assert usage.openai_counts is not broken


{"move": move, "rename": rename, "fail": fail}[sys.argv[1]]()
clevagent.init(interval=3600)
client = openai.OpenAI(base_url=f"{MODELS}/v1", api_key="key", max_retries=0)
for _ in range(2):
    answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}])
    assert answer.choices[0].message.content == "yes"
clevagent.shutdown()
assert len(said) == 1, said
print(said[0])
