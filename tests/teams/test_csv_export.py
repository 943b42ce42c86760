import csv
from datetime import UTC, date, datetime
from io import StringIO

import pytest

from teams.csv_export import cell, lines


@pytest.mark.parametrize(
    "text",
    [
        *("=HYPERLINK(1)", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"),
        *(" =1", "\u00a0=1", "\ufeff=1", "\uff1d1", "|calc"),
    ],
)  # fmt: skip
def test_formula_is_defused(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["bot", "a=b", "3 - 2", "ünïcode", "'=1", ""])
def test_other_text_is_kept(text: str) -> None:
    assert cell(text) == text


def test_nul_hides_no_formula() -> None:
    assert cell("\0=1") == "'=1"


def test_values_have_one_form() -> None:
    assert [cell(None), cell(-4), cell(-0.5), cell(True)] == ["", "-4", "-0.5", "yes"]
    assert cell(datetime(2026, 11, 30, 12, tzinfo=UTC)) == "2026-11-30T12:00:00+00:00"
    assert cell(date(2026, 11, 30)) == "2026-11-30"


def test_quotes_and_line_breaks_stay_in_their_cell() -> None:
    rows = ['a "b", c\n=d', "x,=1"]
    text = "".join(lines({"Name": str}, rows))
    assert list(csv.reader(StringIO(text, newline=""))) == [["Name"], [rows[0]], [rows[1]]]
