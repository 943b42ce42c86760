"""Labels and prices as people write them, one per line."""

from __future__ import annotations

from typing import Any

import pytest
from django import forms

from teams import labels, prices
from teams.forms import LabelsField, PricesField


def test_labels_round_trip() -> None:
    text = "env=production\n\n  team = search \nquery=a=b\nempty="
    found = labels.parse(text)
    assert found == {"env": "production", "team": "search", "query": "a=b", "empty": ""}
    assert labels.parse(labels.format_lines(found)) == found
    assert labels.format_phrase({"env": "prod", "team": "a"}) == "env=prod and team=a"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("env=a\nproduction", "Line 2: use name=value"),
        ("=x", "Line 1: use name=value"),
        ("env=a\nenv=b", "Line 2: env already has a value"),
        ("n" * 51 + "=x", "Line 1: a name must be 1 to 50"),
        ("n=" + "x" * 201, "Line 1: a value can be at most 200"),
        ("\n".join(f"n{n}=x" for n in range(51)), "At most 50 labels"),
    ],
)
def test_invalid_label_names_its_line(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        labels.parse(text)


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
def test_prices_round_trip(line: str, stored: dict[str, Any]) -> None:
    assert prices.parse(f"\n{line}\n") == [stored]
    assert prices.format_lines([stored]) == line


def test_prices_are_parsed_leniently() -> None:
    assert prices.parse("GPT-4o Output $10.00 Input $2.50") == [{"model": "GPT-4o", "input": 2.5, "output": 10}]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("llama-*", "Line 1: model, input and output are required"),
        ("llama-* input 1", "Line 1: model, input and output are required"),
        ("llama-* input 1 output", "Line 1: model, input and output are required"),
        ("input 1 output 2", "Line 1: model, input and output are required"),
        ("llama-* input 1 output 2 extra 3", "“extra” is not one of provider"),
        ("llama-* input cheap output 2", "Price 1: “input” must be USD per million tokens"),
        ("a input 1 output 2\n\nb input 1 output -2", "Price 2: “output” must be USD"),
        ("a input nan output 2", "“input” must be USD"),
        ("\n".join(["a input 1 output 2"] * 101), "At most 100 prices"),
    ],
)
def test_invalid_price_is_explained(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        prices.parse(text)


class Form(forms.Form):
    labels = LabelsField()
    prices = PricesField()


def test_form_fields_round_trip() -> None:
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


def test_invalid_input_stays_in_field() -> None:
    wrong = Form({"labels": "production", "prices": ""})
    assert wrong.errors["labels"] == ["Line 1: use name=value, e.g. env=production."]
    assert ">production<" in wrong.as_p()
