"""Checks that uninstall() and auto_cost=False leave no trace, and that the hint is logged once."""

from __future__ import annotations

import logging
import sys
from typing import Any

import anthropic
import clevagent
import openai
from clevagent import capture
from table import MODELS

ASK: Any = {"messages": [{"role": "user", "content": "?"}]}
CLIENTS = (openai._base_client.BaseClient, anthropic._base_client.BaseClient)
own = [cls.__dict__["_process_response_data"] for cls in CLIENTS]
finders = list(sys.meta_path)
said: list[str] = []
handler = logging.Handler(logging.WARNING)
handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
logging.getLogger("clevagent").addHandler(handler)
client = openai.OpenAI(base_url=f"{MODELS}/v1", api_key="key", max_retries=0)


def is_as_it_was() -> bool:
    found = [cls.__dict__["_process_response_data"] for cls in CLIENTS]
    return found == own and sys.meta_path == finders


clevagent.init(interval=3600, auto_cost=False)
assert is_as_it_was()
client.chat.completions.create(model="unknown-not-watched", **ASK)

clevagent.init(interval=3600)
clevagent.init(interval=3600)
capture.install()
assert not is_as_it_was()
client.chat.completions.create(model="watched-once", **ASK)
for _ in range(2):
    list(client.chat.completions.create(model="unknown-stream", stream=True, **ASK))
assert len(said) == 1
assert "include_usage" in said[0]
clevagent.flush()

capture.uninstall()
assert is_as_it_was()
client.chat.completions.create(model="unknown-no-more", **ASK)
clevagent.shutdown()
