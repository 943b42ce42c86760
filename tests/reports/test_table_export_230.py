"""https://github.com/hhurz/tableExport.jquery.plugin/issues/230

A cell of an exported table starts a program in the spreadsheet.
"""

from __future__ import annotations

import pytest

from teams.csv_export import cell


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "@SUM(1+1)", "\t=1+1", "+1-800-agent"])
def test_formula_is_text(name: str) -> None:
    assert cell(name) == f"'{name}"


def test_negative_number_stays_a_number() -> None:
    assert cell(-5) == "-5"
