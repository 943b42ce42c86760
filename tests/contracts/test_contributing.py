"""The examples of CONTRIBUTING.md are complete: the rule, the channel and the backend work as they are printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
EXAMPLES = dict(re.findall(r"```python\n# (\S+\.py)\n(.*?)```", TEXT, re.DOTALL))
# The file that lists the kinds, and how a name is added to it.
LISTS = {
    "agents/rules": ("from agents.rules import unpriced_tokens\nALL = (*ALL, unpriced_tokens)\n"),
    "alerts/channels": (
        "from alerts.channels import webex\nALL = (*ALL, webex)\nBY_KIND = {kind.KIND: kind for kind in ALL}\n"
    ),
    "client_sdk/clevagent/runner/backends": (
        "from . import supervisor\nALL = (*ALL, supervisor)\nBY_KIND = {backend.KIND: backend for backend in ALL}\n"
    ),
}
TESTED = ("/test_unpriced_tokens.py", "/test_webex.py", "/test_supervisor.py")
COPIED = ("agents", "alerts", "billing", "client_sdk", "teams", "templates", "static", "tests", "watchdog_project")
LINKED = ("docs", "pyproject.toml")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the examples added."""
    root = tmp_path_factory.mktemp("checkout")
    for name in LINKED:
        (root / name).symlink_to(ROOT / name)
    for name in COPIED:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name, source in EXAMPLES.items():
        (root / name).write_text(source)
    for folder, added in LISTS.items():
        with (root / folder / "__init__.py").open("a") as listed:
            listed.write(f"\n{added}")
    return root


def run(*command: str, inside: Path) -> str:
    """An empty text, or what a command that failed printed. It gets a database and a data folder of its own."""
    shared = ("TEST_DATA_DIR", "DATA_DIR", "DATABASE_URL", "REDIS_URL")
    env = {name: value for name, value in os.environ.items() if name not in shared and not name.startswith("PYTEST_")}
    argv = [sys.executable, "-m", *command]
    done = subprocess.run(argv, cwd=inside, env=env, capture_output=True, text=True, timeout=240)
    return (done.stdout[-4000:] + done.stderr[-1000:]) if done.returncode else ""


def test_examples_pass_their_own_tests(checkout: Path) -> None:
    tests = [path for path in EXAMPLES if path.endswith(TESTED)]
    assert len(tests) == len(TESTED)
    assert run("pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests, inside=checkout) == ""


def test_examples_are_styled_like_the_code(checkout: Path) -> None:
    assert run("ruff", "check", *EXAMPLES, inside=checkout) == ""
    assert run("ruff", "format", "--check", *EXAMPLES, inside=checkout) == ""


def test_commands_name_existing_tests() -> None:
    named = {
        word
        for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
        for word in re.findall(r"tests/[\w/.]+", block)
    }
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
