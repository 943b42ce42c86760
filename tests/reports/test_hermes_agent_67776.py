"""https://github.com/NousResearch/hermes-agent/pull/67776

Words that contain *secret* or *token* hide what follows.
"""

from __future__ import annotations

import pytest

from agents.domain.redaction import redacted


@pytest.mark.parametrize("text", ["Secretary: JanetYellen2020", "tokenizer: cl100k_base", "author=Smith2020Deep"])
def test_words_that_contain_a_keyword_hide_nothing(text: str) -> None:
    assert redacted(text) == text
