"""The examples in docs/pricing.md are accepted by the code and produce the documented results."""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from agents.api.changes import AgentChanges
from agents.api.schemas import Spend
from agents.domain import budgets, pricing
from agents.domain.wire.decoding import decode
from agents.fleet.services import SETTABLE
from agents.reporting import formatting
from agents.reporting.payloads import spend_dict
from teams import prices
from teams.models import Project

TEXT = (Path(__file__).parents[2] / "docs/pricing.md").read_text()
BEAT, SPEND, CHANGES = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL))
OWN = prices.parse(re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)[0])
LINES = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.strip().splitlines()]
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


def spent(overrides: Any = ()) -> pricing.Spent:
    return pricing.spent(decode(json.dumps(BEAT).encode()), AT, AT.date(), prices.overrides(overrides))


def test_documented_heartbeat_costs_as_documented() -> None:
    found = spent()
    assert spend_dict(budgets.Spend(found.cost, found.priced, found.unpriced_tokens)) == SPEND
    assert (formatting.money(found.cost), formatting.money(found.priced)) == ("$0.07", "$0.03")
    assert dict(found.unpriced) == {"house-model": 12_300}


def test_documented_names_exist_in_the_api() -> None:
    assert set(SPEND) == set(Spend().fields)


def test_documented_custom_prices_are_valid() -> None:
    assert prices.problem(OWN) is None
    assert spent(OWN).unpriced == {}
    assert prices.overrides(OWN)[1].matches("GPT-4o-mini", "Azure")


def test_documented_settings_are_accepted() -> None:
    checked = AgentChanges(data=CHANGES)
    assert checked.is_valid(), checked.errors
    assert set(CHANGES) <= set(SETTABLE)
    assert set(CHANGES) == set(re.findall(r"^\| `(\w+)` \| an agent", TEXT, re.MULTILINE))


@pytest.mark.parametrize("line", LINES)
def test_documented_commands_run(line: str, project: Project) -> None:
    _python, _manage, name, *args = shlex.split(line)
    given = [str(project.pk) if before == "--project" else arg for before, arg in zip(["", *args], args, strict=False)]
    call_command(name, *given)
