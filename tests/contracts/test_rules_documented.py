"""Every rule has its heading, and every heading its rule."""

from pathlib import Path

import pytest

from agents import rules
from agents.models import SignalKind

TEXT = (Path(__file__).parents[2] / "docs/rules.md").read_text()


def test_headings_are_the_rules_worst_first() -> None:
    headings = [line[3:] for line in TEXT.splitlines() if line.startswith("## ")]
    assert headings == [*(rule.KIND for rule in rules.ALL), "Adding a rule"]


@pytest.mark.parametrize("rule", rules.ALL, ids=lambda rule: rule.KIND)
def test_a_rule_finds_a_known_kind_of_signal(rule: rules.Rule) -> None:
    assert rule.KIND in SignalKind.values
    assert rule.LABEL
