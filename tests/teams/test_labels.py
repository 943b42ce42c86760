"""Labels and prices as people write them, one a line."""

from __future__ import annotations

from typing import Any

import pytest
from django import forms

from teams import labels, prices
from teams.forms import LabelsField, PricesField


def test_labels_are_lines_and_come_back_as_they_were() -> None:
    text = "env=production\n\n  team = search \nquery=a=b\nempty="
    found = labels.read(text)
    assert found == {"env": "production", "team": "search", "query": "a=b", "empty": ""}
    assert labels.read(labels.written(found)) == found
    assert labels.said({"env": "prod", "team": "a"}) == "env=prod and team=a"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("env=a\nproduction", "Line 2: write it as name=value"),
        ("=x", "Line 1: write it as name=value"),
        ("env=a\nenv=b", "Line 2: env has a value already"),
        ("n" * 51 + "=x", "Line 1: a name has 1 to 50"),
        ("n=" + "x" * 201, "Line 1: a value has at most 200"),
        ("\n".join(f"n{n}=x" for n in range(51)), "At most 50 labels"),
    ],
)
def test_a_label_that_cannot_be_read_is_named_by_its_line(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        labels.read(text)


WRITTEN: list[tuple[str, dict[str, Any]]] = [
    ("llama-* input 0.2 output 0.6", {"model": "llama-*", "input": 0.2, "output": 0.6}),
    ("house-model input 0 output 0", {"model": "house-model", "input": 0, "output": 0}),
    (
        "gpt-4o* provider azure input 2.2 output 8.8 cache_read 1.1",
        {"model": "gpt-4o*", "provider": "azure", "input": 2.2, "output": 8.8, "cache_read": 1.1},
    ),
    ("my model input 1 output 2 cache_write 3", {"model": "my model", "input": 1, "output": 2, "cache_write": 3}),
]


@pytest.mark.parametrize(("line", "stored"), WRITTEN)
def test_a_price_is_a_line_and_comes_back_as_it_was(line: str, stored: dict[str, Any]) -> None:
    assert prices.read(f"\n{line}\n") == [stored]
    assert prices.lines([stored]) == line


def test_a_price_may_be_written_as_people_do() -> None:
    assert prices.read("GPT-4o Output $10.00 Input $2.50") == [{"model": "GPT-4o", "input": 2.5, "output": 10}]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("llama-*", "Line 1: give a model, input and output"),
        ("llama-* input 1", "Line 1: give a model, input and output"),
        ("llama-* input 1 output", "Line 1: give a model, input and output"),
        ("input 1 output 2", "Line 1: give a model, input and output"),
        ("llama-* input 1 output 2 extra 3", "“extra” is none of provider"),
        ("llama-* input cheap output 2", "Price 1: “input” must be dollars a million tokens"),
        ("a input 1 output 2\n\nb input 1 output -2", "Price 2: “output” must be dollars"),
        ("a input nan output 2", "“input” must be dollars"),
        ("\n".join(["a input 1 output 2"] * 101), "At most 100 prices"),
    ],
)
def test_a_price_that_cannot_be_read_is_explained(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        prices.read(text)


class Form(forms.Form):
    labels = LabelsField()
    prices = PricesField()


def test_a_form_shows_lines_and_gives_back_what_is_stored() -> None:
    stored = {"labels": {"env": "prod"}, "prices": [WRITTEN[0][1]]}
    shown = Form(initial=stored).as_p()
    assert ">env=prod<" in shown
    assert ">llama-* input 0.2 output 0.6<" in shown
    same = Form({"labels": "env=prod", "prices": WRITTEN[0][0]}, initial=stored)
    assert same.is_valid()
    assert (same.cleaned_data, same.changed_data) == (stored, [])
    emptied = Form({"labels": "", "prices": ""}, initial=stored)
    assert emptied.is_valid()
    assert (emptied.cleaned_data, emptied.changed_data) == ({"labels": {}, "prices": []}, ["labels", "prices"])


def test_what_cannot_be_read_stays_in_its_field() -> None:
    wrong = Form({"labels": "production", "prices": ""})
    assert wrong.errors["labels"] == ["Line 1: write it as name=value, e.g. env=production."]
    assert ">production<" in wrong.as_p()
