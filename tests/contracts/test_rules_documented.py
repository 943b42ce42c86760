"""docs/rules.md says what the code declares, both ways; and the example of a new rule is a rule."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.test import Client

from agents import rules
from agents.models import Agent, SignalKind
from agents.review import backtest
from agents.rules import settings
from agents.rules.thresholds import Threshold
from teams.models import User
from tests.agents.admin.conftest import Browse
from tests.agents.admin.test_agents import page_of
from tests.agents.conftest import T0, World, world  # noqa: F401 - a fixture

TEXT = (Path(__file__).parents[2] / "docs/rules.md").read_text()
HEAD = "| threshold | default | bounds | why |"
every_rule = pytest.mark.parametrize("rule", rules.every().values(), ids=lambda rule: rule.KIND)


def sections(text: str) -> dict[str, str]:
    """What stands under each heading of a rule."""
    found: dict[str, str] = {}
    heading = ""
    for line in re.sub(r"```.*?```", "", text, flags=re.DOTALL).splitlines():
        if re.match(r"##+ (\w+|Adding a rule)$", line):
            heading = line.lstrip("# ")
            found[heading] = ""
        elif heading:
            found[heading] += line + "\n"
    return found


def row(one: Threshold) -> str:
    """The line of a threshold, as it is to stand there."""
    name = f"`{one.name}` of the agent" if one.column else f"`{one.name}`"
    default = "–" if one.default is None else f"{settings.spelled(one.default)} {one.unit}".strip()
    bounds = f"{settings.spelled(one.least)} to {settings.spelled(one.most)}"
    return f"| {name} | {default} | {'true or false' if one.kind is bool else bounds} | {one.why} |"


def missing(rule: rules.Rule, text: str) -> list[str]:
    """What the docs do not say of a rule, or say of none."""
    section = sections(text).get(rule.KIND)
    if section is None:
        return [f"a heading {rule.KIND}"]
    rows = [line for line in section.partition(HEAD)[2].splitlines() if line.startswith("| ") and "---" not in line]
    table = rows[: section.partition(HEAD)[2].strip().partition("\n\n")[0].count("\n")]
    wanted = [row(one) for one in rule.THRESHOLDS]
    switch = "On by default." if rule in rules.ALL else "Off by default."
    return [
        *([] if switch in section else [switch]),
        *([] if bool(wanted) == (HEAD in section) else [HEAD if wanted else "no table"]),
        *(line for line in wanted if line not in table),
        *(f"not: {line}" for line in table if line not in wanted),
    ]


def test_headings_are_the_rules_worst_first() -> None:
    kinds = [*(rule.KIND for rule in rules.ALL), *(rule.KIND for rule in rules.OPT_IN_RULES), "Adding a rule"]
    assert list(sections(TEXT)) == kinds


@every_rule
def test_a_rule_is_described_as_it_is_declared(rule: rules.Rule) -> None:
    assert missing(rule, TEXT) == []


@every_rule
def test_a_rule_says_in_a_sentence_what_it_is(rule: rules.Rule) -> None:
    assert rule.LABEL
    assert (rule.__doc__ or "").partition("\n")[0].strip().endswith((".", ":", ","))
    assert rule.KIND not in SignalKind.values or rule in rules.ALL


def test_what_is_only_in_the_docs_is_found_too() -> None:
    rule = rules.every()["call_rate"]
    (line,) = (row(one) for one in rule.THRESHOLDS)
    assert missing(rule, TEXT.replace(line, line.replace("10 calls", "20 calls"))) == [
        line,
        f"not: {line.replace('10 calls', '20 calls')}",
    ]
    assert missing(rule, TEXT.replace(line, f"{line}\n| `gone` | 1 | 1 to 2 | It was. |")) == [
        "not: | `gone` | 1 | 1 to 2 | It was. |"
    ]
    assert missing(rule, TEXT.replace("### call_rate", "### other")) == ["a heading call_rate"]


# The example


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The rule of the example, with its name in the list."""
    (source,) = re.findall(r"```python\n(.*?)```", TEXT.partition("## Adding a rule")[2], flags=re.DOTALL)
    module = ModuleType("agents.rules.slow_tool")
    sys.modules[module.__name__] = module
    exec(compile(source, "docs/rules.md", "exec"), module.__dict__)
    monkeypatch.setattr(rules, "ALL", (*rules.ALL, module))
    yield module
    del sys.modules[module.__name__]


def test_the_example_finds_something(example: Any, world: World) -> None:  # noqa: F811
    call = {"name": "crawl", "args": "everything", "ms": 700_000}
    world.beat(0)
    world.beat(10, tool_calls=1, tool_call_log=[call])
    world.look(11)
    (incident,) = world.incidents()
    assert (incident.reason, incident.severity) == ("`crawl` took 12 minutes", "warning")
    world.beat(20, tool_calls=1, tool_call_log=[{**call, "ms": 5}])
    world.look(21)
    assert world.kinds() == []


def test_the_example_has_its_switch_and_can_be_tried(example: Any, world: World) -> None:  # noqa: F811
    world.beat(0, tool_calls=1, tool_call_log=[{"name": "crawl", "args": "all", "ms": 90_000}])
    agent = Agent.objects.select_related("project", "state").get()
    tried = backtest.of_agent(agent, *backtest.parse("slow_tool", {"seconds": 60}), T0, T0.replace(hour=13))
    assert [one.finding.reason for one in tried.episodes] == ["`crawl` took 90 seconds"]
    assert backtest.of_agent(agent, *backtest.parse("slow_tool", {}), T0, T0.replace(hour=13)).episodes == []
    assert rules.wrong({"slow_tool": {"off": True, "seconds": 0}}) == {
        "slow_tool.seconds": "must be a number from 1 to 86,400"
    }


def test_the_example_is_on_the_pages_and_in_the_api(
    example: Any,
    world: World,  # noqa: F811
    owner: User,
    client_of: Browse,
    full_key: str,
) -> None:
    world.beat(0)
    body = client_of(owner).get(page_of(world.agent())).content.decode()
    assert 'name="rule__slow_tool__seconds"' in body
    assert "Default: 600 seconds. What libraries of model vendors wait for by default." in body
    known = Client(headers={"X-API-Key": full_key}).get("/api/v1/rules").json()["known"]
    assert known[-len(rules.OPT_IN_RULES) - 1]["thresholds"][0]["default"] == 600


def test_the_example_would_be_missed_in_the_docs(example: Any) -> None:
    assert missing(example, TEXT) == ["a heading slow_tool"]
