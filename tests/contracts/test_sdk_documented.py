"""docs/sdk.md documents every public name and setting, and its examples run."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import clevagent
import pytest
from clevagent.options import NAMED_REACTIONS
from clevagent.testing import FakeServer

from tests.client_sdk.conftest import SDK

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sdk.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_every_public_name_is_documented() -> None:
    names = clevagent.__all__
    assert [name for name in names if f"`{name}" not in PAGE and f"clevagent.{name}" not in PAGE] == []


def test_every_setting_is_documented() -> None:
    given = [name for name in inspect.signature(clevagent.init).parameters if name != "unknown"]
    assert [name for name in given if f"`{name}`" not in PAGE] == []
    assert [name for name in NAMED_REACTIONS if f'`"{name}"`' not in PAGE] == []


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_each_example_runs(example: str) -> None:
    with FakeServer() as server:
        env = {"PYTHONPATH": str(SDK), "CLEVAGENT_API_KEY": server.key, "CLEVAGENT_ENDPOINT": server.url}
        argv = [sys.executable, "-W", "error", "-c", example]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=180)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert server.beats or "FakeServer" in example
