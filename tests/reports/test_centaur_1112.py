"""https://github.com/paradigmxyz/centaur/issues/1112

A filter for keys hides parts of ordinary words.
"""

from __future__ import annotations

import pytest

from agents.domain.redaction import redacted


@pytest.mark.parametrize("text", ["risk-adjusted PnL", "desk-report for task-level-planning-and-review"])
def test_words_are_not_redacted(text: str) -> None:
    assert redacted(text) == text
