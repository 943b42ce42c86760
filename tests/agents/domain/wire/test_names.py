"""Agent names: readable, storable, and never two names in one. The SDK has the same rules."""

from __future__ import annotations

import pytest
from clevagent.names import agent_name as name_in_sdk

from agents.domain.wire.names import MAX_LENGTH, agent_name

JOINED = "bot-\U0001f468\u200d\U0001f469"
NAMES = {
    " research-agent\n": "research-agent",
    "\ufeffbot": "bot",
    "bot\u200b": "bot",
    "price\u00a0bot": "price bot",
    JOINED: JOINED,
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "a\0b": "a\\x00b",
    "two\nlines": "two\\nlines",
    "r\udce9sum\udce9": "r\\udce9sum\\udce9",
    "evil\u202etxt": "eviltxt",
    "\u200b\ufeff ": "",
    "skyscanner-price-bot": "skyscanner-price-bot",
    "sk-" + "a1" * 20: "sk-" + "a1" * 20,
}


@pytest.mark.parametrize(("sent", "stored"), NAMES.items(), ids=map(ascii, NAMES))
def test_names_become_readable(sent: str, stored: str) -> None:
    assert agent_name(sent) == name_in_sdk(sent) == stored
    assert agent_name(stored) == stored
    assert stored.encode().decode() == stored


@pytest.mark.parametrize("pair", [("bot\udce9", "bot\udcff"), ("a" * 250 + "1", "a" * 250 + "2"), ("a\0", "a\x01")])
def test_different_names_stay_different(pair: tuple[str, str]) -> None:
    first, second = map(agent_name, pair)
    assert first != second
    assert max(len(first), len(second)) <= MAX_LENGTH
    assert (first, second) == (name_in_sdk(pair[0]), name_in_sdk(pair[1]))
