"""Imports go one way between apps and between the rooms of `agents/`, no two files import each other in a circle,
and files that are called pure are: no Django, no clock, no I/O."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ["teams", "billing", "agents", "alerts", "watchdog_project"]
# Low to high: a room imports from itself and from the rooms before it.
ROOMS = [
    *("domain", "models", "rules", "storage", "ingest", "incidents", "commands", "review", "fleet", "reporting"),
    *("api", "doors", "admin"),
]
MAX_FILES_PER_ROOM = 18
PURE_FILES = {
    "teams": ("actors", "errors", "keys", "labels", "prices", "roles", "times"),
    "billing": ("plans",),
    "agents": (
        *("ingest/fold", "admin/quickstart"),
        *(f"doors/{name}" for name in ("beats", "facts", "identity", "ledger", "litellm", "notes", "setup")),
        *(f"reporting/{name}" for name in ("advice", "availability", "formatting", "recent", "series", "timeline")),
    ),
    "alerts": ("coverage", "policies", "quiet_hours", "retry", "rotations", "routing"),
}
WEBHOOKS = ("alertmanager", "github", "gitlab", "happenings", "sentry", "setup", "signatures")
PURE = [
    *(ROOT / app / f"{name}.py" for app, names in PURE_FILES.items() for name in names),
    *sorted((ROOT / "agents" / "domain").rglob("*.py")),
    *sorted((ROOT / "agents" / "rules").rglob("*.py")),
    *sorted((ROOT / "agents" / "doors" / "dialects").rglob("*.py")),
    *sorted((ROOT / "agents" / "doors" / "hooks").rglob("*.py")),
    *sorted((ROOT / "agents" / "doors" / "merging").rglob("*.py")),
    *sorted((ROOT / "agents" / "doors" / "otlp").rglob("*.py")),
    *(ROOT / "agents" / "doors" / "webhooks" / f"{name}.py" for name in WEBHOOKS),
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
    """Every imported module, including imports inside functions; `from a import b` yields `a` and `a.b`."""
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
    # `moment.time()` is a moment's time of day.
    of_day = {id(call) for call in calls if ast.unparse(call).endswith(".time") and ast.unparse(call) != "time.time"}
    return [name for call, name in zip(calls, names, strict=True) if name in CLOCKS and id(call) not in of_day]


def sources(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py") if ".venv" not in path.parts)


def room_of(module: str) -> str | None:
    """The room of `agents/` that a dotted module name belongs to, if any."""
    parts = module.split(".")
    return parts[1] if parts[0] == "agents" and len(parts) > 1 and parts[1] in ROOMS else None


def upward(room: str, source: str) -> list[str]:
    """Imports from a higher room."""
    higher = ROOMS[ROOMS.index(room) + 1 :]
    return sorted({name for name in imports(source) if room_of(name) in higher})


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_files(source: str, known: set[str]) -> Iterator[str]:
    """The imported files: for `from package import module` the module, not the package."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for name in (f"{node.module}.{alias.name}" for alias in node.names):
                yield name if name in known else str(node.module)


def import_graph(paths: list[Path]) -> dict[str, set[str]]:
    """Each file and the files it imports; a package stands for its `__init__.py`."""
    known = {module_name(path) for path in paths}
    return {module_name(path): known & set(imported_files(path.read_text(), known)) for path in paths}


@pytest.mark.parametrize("package", LAYERS)
def test_imports_go_one_way(package: str) -> None:
    found = {str(path.relative_to(ROOT)): wrong_way(package, path.read_text()) for path in sources(package)}
    assert found
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_downwards(room: str) -> None:
    folder = ROOT / "agents" / room
    findings = {str(path.relative_to(ROOT)): upward(room, path.read_text()) for path in sorted(folder.rglob("*.py"))}
    assert findings
    assert {path: names for path, names in findings.items() if names} == {}


def test_every_folder_of_agents_is_a_room() -> None:
    framework = {"management", "migrations", "templatetags"}
    folders = {path.parent.name for path in (ROOT / "agents").glob("*/__init__.py")}
    assert folders - framework == set(ROOMS)


@pytest.mark.parametrize("folder", sorted({path.parent for path in (ROOT / "agents").rglob("*.py")}), ids=str)
def test_no_room_is_crowded(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= MAX_FILES_PER_ROOM


@pytest.mark.parametrize("package", [*LAYERS, "client_sdk/clevagent"])
def test_no_import_circles(package: str) -> None:
    paths = [path for path in sources(package) if "migrations" not in path.parts]
    try:
        TopologicalSorter(import_graph(paths)).prepare()
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))


def test_sdk_does_not_import_the_server() -> None:
    found = {
        str(path): [name for name in imports(path.read_text()) if name.split(".")[0] in {*LAYERS, "django"}]
        for path in sources("client_sdk")
        if path.name != "openai_agents.py"  # that library calls itself `agents`, too
    }
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_pure_files_are_pure(path: Path) -> None:
    source = path.read_text()
    assert [name for name in imports(source) if name.split(".")[0] in IMPURE_IMPORTS] == []
    assert [name for name in imports(source) if name.endswith((".models", ".services"))] == []
    assert clock_readings(source) == []


def test_imports_inside_functions_count() -> None:
    assert wrong_way("teams", "def f():\n    from alerts import outbox\n") == ["alerts", "alerts.outbox"]
    assert wrong_way("alerts", "from agents import review\nimport teams.models\n") == []


def test_reading_the_clock_counts() -> None:
    assert clock_readings("from django.utils import timezone\nx = timezone.now()\n") == ["now"]
    assert clock_readings("def f(now): return now\n") == []
