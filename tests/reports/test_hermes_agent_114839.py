"""https://github.com/NousResearch/hermes-agent/pull/114839

Of a key with dots, only the part before the dot is hidden.
"""

from __future__ import annotations

from agents.domain.redaction import redacted


def test_keys_with_dots_are_hidden_whole() -> None:
    assert redacted("use sk-sp-4f9aC2e8B1d7aa93.x7Kq2mP9vL4n.") == "use [hidden]."
