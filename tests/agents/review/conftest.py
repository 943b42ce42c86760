"""Which agents a sweep reviews."""

from __future__ import annotations

from typing import Any

import pytest

from agents.review import review


@pytest.fixture
def reviewed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of agents whose rules are asked, from now on."""
    names: list[str] = []
    ask = review.ask_rules

    def note(case: Any, **given: Any) -> None:
        names.append(case.agent.name)
        ask(case, **given)

    monkeypatch.setattr(review, "ask_rules", note)
    return names
