"""Amounts as people read them."""

from __future__ import annotations

import pytest

from agents.domain.money import dollars


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000001"),
        (1_200, "$0.0012"),
        (10_000, "$0.01"),
        (3_100_000, "$3.10"),
        (1_234_500_000, "$1,234.50"),
        (-500, "$-0.0005"),
    ],
)
def test_dollars(micros: int, text: str) -> None:
    assert dollars(micros) == text
