"""Capturing imports no SDK by itself."""

from __future__ import annotations

import sys

import clevagent

clevagent.init(interval=3600)
HEAVY = {"openai", "anthropic", "litellm", "google", "pydantic", "httpx", "httpx2", "asyncio"}
assert not HEAVY & set(sys.modules), HEAVY & set(sys.modules)
clevagent.shutdown()
