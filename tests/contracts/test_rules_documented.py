"""Rules are complete, docs/rules.md matches their declarations both ways, and its example of a new rule works."""

from __future__ import annotations

import importlib
import pkgutil
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
from agents.rules import jobs as rules_of_jobs
from agents.rules import opt_in, settings
from agents.rules.thresholds import Threshold
from teams.models import User
from tests.agents.admin.conftest import Browse
from tests.agents.admin.test_agents import page_of
from tests.agents.conftest import T0, World, world  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/rules.md").read_text()
TESTS = "\n".join(path.read_text() for path in sorted((ROOT / "tests/agents/rules").rglob("*.py")))
HEAD = "| threshold | default | bounds | why |"


def sections(text: str) -> dict[str, str]:
    """The text under each heading of a rule."""
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
    """The expected table row of a threshold."""
    name = f"`{one.name}` of the agent" if one.column else f"`{one.name}`"
    default = "–" if one.default is None else f"{settings.spelled(one.default)} {one.unit}".strip()
    bounds = f"{settings.spelled(one.minimum)} to {settings.spelled(one.maximum)}"
    return f"| {name} | {default} | {'true or false' if one.kind is bool else bounds} | {one.why} |"


def missing(rule: rules.Rule, text: str) -> list[str]:
    """What the docs lack about a rule, or say although the rule does not declare it."""
    section = sections(text).get(rule.KIND, "")
    rows = [line for line in section.partition(HEAD)[2].splitlines() if line.startswith("| ") and "---" not in line]
    table = rows[: section.partition(HEAD)[2].strip().partition("\n\n")[0].count("\n")]
    wanted = [row(one) for one in rule.THRESHOLDS]
    switch = "On by default." if rule in rules.ALL else "Off by default."
    return [
        *([] if rule.KIND in sections(text) else [f"a heading {rule.KIND}"]),
        *([] if switch in section else [switch]),
        *([] if bool(wanted) == (HEAD in section) else [HEAD if wanted else "no table"]),
        *(line for line in wanted if line not in table),
        *(f"not: {line}" for line in table if line not in wanted),
    ]


def rule_modules() -> list[ModuleType]:
    """Every module in `agents/rules/` that declares a KIND, whether it is listed as a rule or not."""
    names = [
        f"{package.__name__}.{found.name}"
        for package in (rules, rules_of_jobs, opt_in)
        for found in pkgutil.iter_modules(package.__path__)
        if not found.ispkg
    ]
    return [module for module in map(importlib.import_module, names) if hasattr(module, "KIND")]


def lacking(module: ModuleType, docs: str, tests: str) -> list[str]:
    """Everything that a rule still needs, step by step as in "Adding a rule"."""
    name = module.__name__.rpartition(".")[2]
    needed = [f"{what} in its module" for what in ("LABEL", "THRESHOLDS", "check") if not hasattr(module, what)]
    if not (module.__doc__ or "").partition("\n")[0].strip().endswith((".", ":", ",")):
        needed.append("a sentence at the beginning of its docstring")
    if module not in rules.every().values():
        needed.append("its name in ALL or OPT_IN_RULES in agents/rules/__init__.py")
    if not needed:
        rule: Any = module
        needed += [f"in docs/rules.md: {what}" for what in missing(rule, docs)]
    elif module.KIND not in sections(docs):
        needed.append(f"in docs/rules.md: a heading {module.KIND}")
    if not re.search(rf"\b{name}\b", tests):
        needed.append(f"a test in tests/agents/rules/ that uses {name}")
    return needed


def report(module: ModuleType, needed: list[str]) -> str:
    return "\n- ".join([f"{module.__name__} is no complete rule yet; see docs/rules.md. It lacks:", *needed])


def test_headings_are_the_rules_worst_first() -> None:
    kinds = [*(rule.KIND for rule in rules.ALL), *(rule.KIND for rule in rules.OPT_IN_RULES), "Adding a rule"]
    headings = list(sections(TEXT))
    assert headings == kinds, f"docs/rules.md needs these headings in this order: {', '.join(kinds)}"


@pytest.mark.parametrize("module", rule_modules(), ids=lambda module: module.KIND)
def test_every_rule_is_complete(module: ModuleType) -> None:
    needed = lacking(module, TEXT, TESTS)
    assert not needed, report(module, needed)


def test_opt_in_rules_reuse_the_kinds_of_others() -> None:
    assert not {rule.KIND for rule in rules.OPT_IN_RULES} & set(SignalKind.values)


def test_leftovers_in_the_docs_are_found() -> None:
    rule = rules.every()["call_rate"]
    (line,) = (row(one) for one in rule.THRESHOLDS)
    assert missing(rule, TEXT.replace(line, line.replace("10 calls", "20 calls"))) == [
        line,
        f"not: {line.replace('10 calls', '20 calls')}",
    ]
    assert missing(rule, TEXT.replace(line, f"{line}\n| `gone` | 1 | 1 to 2 | It was. |")) == [
        "not: | `gone` | 1 | 1 to 2 | It was. |"
    ]
    assert missing(rule, TEXT.replace("### call_rate", "### other")) == [
        "a heading call_rate",
        "Off by default.",
        HEAD,
        line,
    ]


# The example


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The example's rule, listed in ALL."""
    (source,) = re.findall(r"```python\n(.*?)```", TEXT.partition("## Adding a rule")[2], flags=re.DOTALL)
    module = ModuleType("agents.rules.slow_tool")
    sys.modules[module.__name__] = module
    exec(compile(source, "docs/rules.md", "exec"), module.__dict__)
    monkeypatch.setattr(rules, "ALL", (*rules.ALL, module))
    yield module
    del sys.modules[module.__name__]


def test_example_finds_something(example: Any, world: World) -> None:  # noqa: F811
    call = {"name": "crawl", "args": "everything", "ms": 700_000}
    world.beat(0)
    world.beat(10, tool_calls=1, tool_call_log=[call])
    world.look(11)
    (incident,) = world.incidents()
    assert (incident.reason, incident.severity) == ("`crawl` took 12 minutes", "warning")
    world.beat(20, tool_calls=1, tool_call_log=[{**call, "ms": 5}])
    world.look(21)
    assert world.kinds() == []


def test_example_has_a_switch_and_a_backtest(example: Any, world: World) -> None:  # noqa: F811
    world.beat(0, tool_calls=1, tool_call_log=[{"name": "crawl", "args": "all", "ms": 90_000}])
    agent = Agent.objects.select_related("project", "state").get()
    tried = backtest.of_agent(agent, *backtest.parse("slow_tool", {"seconds": 60}), T0, T0.replace(hour=13))
    assert [one.finding.reason for one in tried.episodes] == ["`crawl` took 90 seconds"]
    assert backtest.of_agent(agent, *backtest.parse("slow_tool", {}), T0, T0.replace(hour=13)).episodes == []
    assert rules.wrong({"slow_tool": {"off": True, "seconds": 0}}) == {
        "slow_tool.seconds": "must be a number from 1 to 86,400"
    }


def test_example_is_on_the_pages_and_in_the_api(
    example: Any,
    world: World,  # noqa: F811
    owner: User,
    client_of: Browse,
    full_key: str,
) -> None:
    world.beat(0)
    body = client_of(owner).get(page_of(world.agent())).content.decode()
    assert 'name="rule__slow_tool__seconds"' in body
    assert re.search(r"600 seconds[^.]*\. The default timeout of most model APIs\.", body)
    known = Client(headers={"X-API-Key": full_key}).get("/api/v1/rules").json()["known"]
    assert known[-len(rules.OPT_IN_RULES) - 1]["thresholds"][0]["default"] == 600


def test_incomplete_rule_is_reported_in_full(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lacking(example, TEXT, TESTS) == [
        "in docs/rules.md: a heading slow_tool",
        "in docs/rules.md: On by default.",
        f"in docs/rules.md: {HEAD}",
        f"in docs/rules.md: {row(example.THRESHOLDS[0])}",
        "a test in tests/agents/rules/ that uses slow_tool",
    ]
    monkeypatch.setattr(rules, "ALL", rules.ALL[:-1])
    monkeypatch.delattr(example, "LABEL")
    assert report(example, lacking(example, TEXT, TESTS)).splitlines() == [
        "agents.rules.slow_tool is no complete rule yet; see docs/rules.md. It lacks:",
        "- LABEL in its module",
        "- its name in ALL or OPT_IN_RULES in agents/rules/__init__.py",
        "- in docs/rules.md: a heading slow_tool",
        "- a test in tests/agents/rules/ that uses slow_tool",
    ]
