"""Every runner backend is known wherever it has to be, and every option is documented."""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path

import pytest
from clevagent.runner import backends, cli, config
from clevagent.runner.backends.base import Backend
from clevagent.runner.target import make_target

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/runner.md").read_text()
SECTIONS = {part.split("\n", 1)[0]: part for part in TEXT.split("\n## ")[1:]}
# Modules not named after their type.
FILES = {"k8s": "kubernetes"}
each_backend = pytest.mark.parametrize("backend", backends.ALL, ids=lambda backend: backend.KIND)


def test_headings_are_the_backends_in_order() -> None:
    lower = [heading for heading in SECTIONS if heading == heading.lower()]
    kinds = [backend.KIND for backend in backends.ALL]
    assert lower == kinds, f"docs/runner.md needs these headings in this order: {', '.join(kinds)}"


@each_backend
def test_backend_has_a_module_and_a_test(backend: Backend) -> None:
    name = FILES.get(backend.KIND, backend.KIND)
    module = sys.modules[f"clevagent.runner.backends.{name}"]
    assert backend in (module, getattr(module, "BACKEND", None))
    assert path_of_test(backend.KIND).exists()


@each_backend
def test_backend_implements_the_protocol(backend: Backend) -> None:
    assert isinstance(backend, Backend)
    assert isinstance(backend.validation_error(make_target(backend.KIND, "a b")), str)


@each_backend
def test_section_shows_a_target_and_options(backend: Backend) -> None:
    section = SECTIONS.get(backend.KIND, "")
    named = (f"`{backend.KIND}:", *(f"`{option}`" for option in getattr(backend, "OPTIONS", ())))
    missing = [name for name in named if name not in section]
    assert not missing, f"docs/runner.md, under '## {backend.KIND}', has no {', '.join(missing)}"


def test_every_command_line_option_is_documented() -> None:
    commands = next(action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction))
    found = {text for each in commands.choices.values() for action in each._actions for text in action.option_strings}
    assert {option for option in found if f"`{option}" not in SECTIONS["Options"]} == {"-h", "--help"}


def test_every_file_key_is_documented() -> None:
    for key in (*config.KEYS, *config.TARGET_KEYS):
        assert re.search(rf"\b{key}\b", SECTIONS["Options"] + SECTIONS["The file"]), key


def test_documented_file_is_valid(tmp_path: Path) -> None:
    [shown] = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "runner.toml").write_text(shown)
    targets = config.checked_targets(config.read_targets(config.read(tmp_path / "runner.toml")))
    assert [str(target) for target in targets] == ["systemd:research-agent.service", "process:poller"]
    assert tomllib.loads(shown)["interval"] == config.INTERVAL


def test_documented_commands_are_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLEVAGENT_API_KEY", "cv_1")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    [shown] = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    lines = [line.split()[1:] for line in shown.splitlines() if line.startswith("clevagent-runner")]
    assert [words[0] for words in lines] == ["check", "start", "install"]
    for words in lines:
        assert cli.read_settings(cli.parser().parse_args(words)).targets[0].agent == "research"


@each_backend
def test_backend_is_known_everywhere(backend: Backend) -> None:
    """CONTRIBUTING.md explains each of these places."""
    missing = places_without(backend.KIND)
    assert not missing, f"the backend {backend.KIND!r} is still missing in: {'; '.join(missing)}"


def test_every_place_is_checked() -> None:
    assert places_without("vm") == list(known_kinds())


def places_without(kind: str) -> list[str]:
    return [place for place, kinds in known_kinds().items() if kind not in kinds]


def known_kinds() -> dict[str, set[str]]:
    """Return the places that must list every backend, with the types each one lists today."""
    from agents.models import RestartType

    decoder, decoded = heartbeat_literal()
    advice = next((ROOT / "agents").rglob("advice.py"))
    return {
        "docs/runner.md (heading)": set(SECTIONS),
        "tests/client_sdk/runner (test file)": {kind for kind in backends.BY_KIND if path_of_test(kind).exists()},
        "client_sdk/clevagent/runner/cli.py (help of --watch)": named_in(cli.WATCH),
        "agents/models/agent.py (RestartType)": set(RestartType.values),
        "agents/migrations (run makemigrations)": migrated("agent", "restart_type") & migrated("command", "type"),
        f"{decoder} (Literal of restart_type)": decoded,
        f"{advice.relative_to(ROOT)} (suggested types)": named_in(advice.read_text()),
    }


def path_of_test(kind: str) -> Path:
    return ROOT / f"tests/client_sdk/runner/test_{FILES.get(kind, kind)}.py"


def named_in(text: str) -> set[str]:
    return set(re.findall(r"\b(\w+):", text))


def migrated(model: str, field: str) -> set[str]:
    from django.db.migrations.loader import MigrationLoader

    state = MigrationLoader(None).project_state()
    return {kind for kind, _ in state.models["agents", model].fields[field].choices}


def heartbeat_literal() -> tuple[str, set[str]]:
    """Return the file that decodes heartbeats and the types it accepts."""
    from agents.domain import heartbeat

    return "agents/domain/heartbeat.py", set(heartbeat.RESTART_TYPES)
