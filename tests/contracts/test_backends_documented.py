"""Every backend of the runner has its heading, its file and its tests; every option is in the docs."""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path

import pytest
from clevagent.runner import backends, cli, config
from clevagent.runner.backends.base import Backend
from clevagent.runner.target import made

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/runner.md").read_text()
SECTIONS = {part.split("\n", 1)[0]: part for part in TEXT.split("\n## ")[1:]}
# The wire's word where it is not the file's.
FILES = {"k8s": "kubernetes"}
each_backend = pytest.mark.parametrize("backend", backends.ALL, ids=lambda backend: backend.KIND)


def test_headings_are_the_backends_in_their_order() -> None:
    lower = [heading for heading in SECTIONS if heading == heading.lower()]
    assert lower == [backend.KIND for backend in backends.ALL]


@each_backend
def test_a_backend_is_a_file_of_its_name_with_a_test_of_its_name(backend: Backend) -> None:
    name = FILES.get(backend.KIND, backend.KIND)
    module = sys.modules[f"clevagent.runner.backends.{name}"]
    assert backend in (module, getattr(module, "BACKEND", None))
    assert (ROOT / f"tests/client_sdk/runner/test_{name}.py").exists()


@each_backend
def test_a_backend_answers_the_protocol(backend: Backend) -> None:
    assert isinstance(backend, Backend)
    assert isinstance(backend.validation_error(made(backend.KIND, "a b")), str)


@each_backend
def test_its_section_shows_a_target_and_names_its_options(backend: Backend) -> None:
    section = SECTIONS[backend.KIND]
    assert f"`{backend.KIND}:" in section
    for option in getattr(backend, "OPTIONS", ()):
        assert f"`{option}`" in section, option


def test_every_option_of_the_command_line_is_in_the_table() -> None:
    commands = next(action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction))
    found = {text for each in commands.choices.values() for action in each._actions for text in action.option_strings}
    assert {option for option in found if f"`{option}" not in SECTIONS["Options"]} == {"-h", "--help"}


def test_every_key_of_the_file_is_documented() -> None:
    for key in (*config.KEYS, *config.TARGET_KEYS):
        assert re.search(rf"\b{key}\b", SECTIONS["Options"] + SECTIONS["The file"]), key


def test_the_file_that_is_shown_is_read(tmp_path: Path) -> None:
    [shown] = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "runner.toml").write_text(shown)
    targets = config.checked_targets(config.read_targets(config.read(tmp_path / "runner.toml")))
    assert [str(target) for target in targets] == ["systemd:research-agent.service", "process:poller"]
    assert tomllib.loads(shown)["interval"] == config.INTERVAL


def test_the_commands_that_are_shown_are_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLEVAGENT_API_KEY", "cv_1")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    [shown] = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    lines = [line.split()[1:] for line in shown.splitlines() if line.startswith("clevagent-runner")]
    assert [words[0] for words in lines] == ["check", "start", "install"]
    for words in lines:
        assert cli.read_settings(cli.parser().parse_args(words)).targets[0].agent == "research"
