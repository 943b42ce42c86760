"""Advice snippets are valid Python and runner commands."""

from __future__ import annotations

import ast
import inspect
import shlex
from pathlib import Path

import clevagent
import pytest
from clevagent.runner import cli

from agents.reporting.advice import Advice, Reports, advice

NAMES = ["bot", "my agent", 'say "hi"', "Zürich's bot", "a\\b"]


def reports(name: str = "bot", *, all_of_it: bool = False, unpriced: bool = False) -> Reports:
    known = dict.fromkeys(("client", "progress", "calls", "usage", "runner"), all_of_it)
    return Reports(name=name, server="https://watchdog.example", tokens_without_price=unpriced, target="", **known)


def calls_in(one: Advice) -> list[ast.Call]:
    """Of the client, in order."""
    found = [node for node in ast.walk(ast.parse(one.lines)) if isinstance(node, ast.Call)]
    return [call for call in found if ast.unparse(call.func).startswith("clevagent.")]


def every(name: str = "bot") -> list[Advice]:
    priced = advice(reports(name, all_of_it=True, unpriced=True))
    return [*advice(reports(name)), *priced]


def test_no_advice_if_everything_is_reported() -> None:
    assert advice(reports(all_of_it=True)) == []


def test_each_missing_report_is_named_once() -> None:
    assert [one.key for one in every()] == ["client", "progress", "calls", "usage", "runner", "price"]


@pytest.mark.parametrize("one", [one for one in every() if one.key != "runner"], ids=lambda one: one.key)
def test_python_snippets_match_the_client(one: Advice) -> None:
    calls = calls_in(one)
    assert calls
    for call in calls:
        function = getattr(clevagent, ast.unparse(call.func).removeprefix("clevagent."))
        named = {str(word.arg): None for word in call.keywords}
        inspect.signature(function).bind(*(None for _ in call.args), **named)


@pytest.mark.parametrize("name", NAMES)
def test_agent_name_survives_in_snippets(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    offered = {one.key: one for one in advice(reports(name))}
    [init] = calls_in(offered["client"])
    assert {word.arg: ast.literal_eval(word.value) for word in init.keywords}["agent"] == name
    words = shlex.split(offered["runner"].lines)
    assert words[0] == "clevagent-runner"
    assert cli.read_settings(cli.parser().parse_args(words[1:])).targets[0].agent == name
