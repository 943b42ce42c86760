"""Imports go one way, and what is called pure is: no Django, no clock, nothing outside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ["teams", "billing", "agents", "alerts", "watchdog_project"]
PURE_BY_APP = {
    "teams": ("errors", "keys", "labels", "prices", "roles", "times"),
    "billing": ("plans",),
    "agents": (
        *("advice", "availability", "beat", "budgets", "clocks", "fold", "hot", "pricing", "recent", "redact"),
        *("restart", "series", "timeline", "tools", "ways", "wording"),
    ),
    "alerts": ("audience", "retry", "routing"),
}
PURE = [
    *(ROOT / app / f"{name}.py" for app, names in PURE_BY_APP.items() for name in names),
    *sorted((ROOT / "agents" / "rules").glob("*.py")),
    *sorted((ROOT / "agents" / "loops").glob("*.py")),
]
IMPURE_IMPORTS = {
    "django",
    "rest_framework",
    "celery",
    "redis",
    "requests",
    "socket",
    "subprocess",
    "os",
    "watchdog_project",
}
CLOCKS = {"now", "utcnow", "today", "time", "monotonic", "perf_counter", "localtime"}


def imports(source: str) -> Iterator[str]:
    """Every module that a source names, also inside functions; `from a import b` gives `a` and `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def wrong_way(package: str, source: str) -> list[str]:
    above = LAYERS[LAYERS.index(package) + 1 :]
    return [name for name in imports(source) if name.split(".")[0] in above]


def clock_readings(source: str) -> list[str]:
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = [call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls]
    return [name for name in names if name in CLOCKS]


def sources(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py") if ".venv" not in path.parts)


@pytest.mark.parametrize("package", LAYERS)
def test_imports_go_one_way(package: str) -> None:
    found = {str(path.relative_to(ROOT)): wrong_way(package, path.read_text()) for path in sources(package)}
    assert found
    assert {path: names for path, names in found.items() if names} == {}


def test_the_sdk_imports_nothing_of_the_server() -> None:
    found = {
        str(path): [name for name in imports(path.read_text()) if name.split(".")[0] in {*LAYERS, "django"}]
        for path in sources("client_sdk")
        if path.name != "openai_agents.py"  # that library calls itself `agents`, too
    }
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_called_pure_is(path: Path) -> None:
    source = path.read_text()
    assert [name for name in imports(source) if name.split(".")[0] in IMPURE_IMPORTS] == []
    assert [name for name in imports(source) if name.endswith((".models", ".services"))] == []
    assert clock_readings(source) == []


def test_an_import_inside_a_function_counts() -> None:
    assert wrong_way("teams", "def f():\n    from alerts import outbox\n") == ["alerts", "alerts.outbox"]
    assert wrong_way("alerts", "from agents import review\nimport teams.models\n") == []


def test_reading_the_clock_counts() -> None:
    assert clock_readings("from django.utils import timezone\nx = timezone.now()\n") == ["now"]
    assert clock_readings("def f(now): return now\n") == []
