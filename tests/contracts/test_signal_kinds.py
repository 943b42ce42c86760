"""A kind of signal has entries in several places; a failing test names those that a kind still lacks."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest
from django.db.migrations.loader import MigrationLoader

from agents import rules
from agents.domain import signal_kinds
from agents.models import Signal, SignalKind, Status

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "agents/domain/signal_kinds.py"
RULES_DOC = (ROOT / "docs/rules.md").read_text()
KINDS = sorted({*SignalKind.values, *signal_kinds.TRAITS})


def migrated_kinds() -> set[str]:
    """The choices that the migrations of signals know."""
    field = MigrationLoader(None).project_state().models["agents", "signal"].fields["kind"]
    return {str(value) for value, _ in field.choices or ()}


def missing(kind: str) -> list[str]:
    """What a kind lacks, as steps to do."""
    traits, rule = signal_kinds.TRAITS.get(kind), rules.every().get(kind)
    entries = {
        "a row with a headline in agents/domain/signal_kinds.py": traits is not None and traits.headline,
        "a choice with a label in agents/models/incident.py": kind in SignalKind.values and SignalKind(kind).label,
        "at most 20 characters": len(kind) <= (Signal._meta.get_field("kind").max_length or 0),
        "a migration of its choice: manage.py makemigrations agents": kind in migrated_kinds(),
        "a rule of that KIND with a LABEL in agents/rules": rule is not None and rule.LABEL,
        "EVIDENCE in its rule, the words for the incident page": rules.words(rule),
        "a heading in docs/rules.md": re.search(rf"^#+ {kind}$", RULES_DOC, re.MULTILINE),
        "a `shown_as` that is a status": traits is not None and traits.shown_as in Status.values,
    }
    return [step for step, done in entries.items() if not done]


def finds_its_own_kind(rule: rules.Rule) -> bool:
    """Whether a rule's findings are of its own KIND, not of that of another rule."""
    source = inspect.getsource(cast("ModuleType", rule))
    return "Finding(KIND" in source or re.search(r"Finding\(\s*kind=KIND\b", source) is not None


def literal_comparisons(source: str) -> Iterator[str]:
    """Kinds that a source compares with by literal, as in `signal.kind == "loop"`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            inner = list(ast.walk(node))
            names = {getattr(one, "attr", getattr(one, "id", "")) for one in inner}
            if names & {"kind", "kinds"}:
                yield from (str(one.value) for one in inner if isinstance(one, ast.Constant) and one.value in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_kind_is_complete(kind: str) -> None:
    assert missing(kind) == []


def test_incomplete_kind_is_reported_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(missing("leak")) == 7
    without_headline = replace(signal_kinds.TRAITS["memory"], headline="")
    monkeypatch.setattr(signal_kinds, "TRAITS", {"memory": without_headline})
    assert missing("memory") == ["a row with a headline in agents/domain/signal_kinds.py"]


@pytest.mark.parametrize("rule", rules.every().values(), ids=lambda rule: rule.KIND)
def test_rules_report_known_kinds(rule: rules.Rule) -> None:
    assert finds_its_own_kind(rule) == (rule.KIND in signal_kinds.TRAITS)


@pytest.mark.parametrize("app", ["agents", "alerts"])
def test_no_code_compares_kinds_by_literal(app: str) -> None:
    sources = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / app).rglob("*.py") if path != TABLE}
    found = {path: list(literal_comparisons(source)) for path, source in sources.items()}
    assert found
    assert {path: kinds for path, kinds in found.items() if kinds} == {}


def test_a_comparison_by_literal_is_found() -> None:
    assert list(literal_comparisons('signal.kind == "loop"')) == ["loop"]
    assert list(literal_comparisons('kinds & {"crash"} or "error" in kinds')) == ["error"]
    assert list(literal_comparisons('beat.status == "error"')) == []


def test_an_unknown_kind_gets_cautious_traits() -> None:
    unknown = signal_kinds.traits("of a newer server")
    assert unknown == signal_kinds.Traits(headline="needs attention")
