"""What the first steps offer to paste."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from agents.admin.quickstart import Block, ways

CLIENT = Path(__file__).resolve().parents[3] / "client_sdk"
SHOWN = ways("cv_key", "https://watchdog.example.com", "my-agent")
PYTHON = [block for way in SHOWN for block in way.blocks if block.text.startswith("import clevagent")]


def test_every_way_is_complete() -> None:
    ids = [block.id for way in SHOWN for block in way.blocks]
    assert len(ids) == len(set(ids))
    for way in SHOWN:
        assert "cv_key" in way.blocks[-1].text, way.title
        assert "https://watchdog.example.com" in way.blocks[-1].text, way.title


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.id)
def test_lines_of_python_are_python_and_import_what_the_client_has(block: Block) -> None:
    imported = [node for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.ImportFrom)]
    for one in imported:
        source = (CLIENT / str(one.module).replace(".", "/")).with_suffix(".py").read_text()
        defined = {getattr(node, "name", "") for node in ast.parse(source).body}
        assert {alias.name for alias in one.names} <= defined
    assert "clevagent.init(" in block.text


@pytest.mark.parametrize(
    ("server", "trusted"),
    [("http://watchdog.local:8000", True), ("http://127.0.0.1:8000", False), ("https://watchdog.local", False)],
)
def test_pip_is_told_to_trust_a_host_without_tls(server: str, trusted: bool) -> None:
    assert ("--trusted-host watchdog.local" in ways("k", server, "a")[0].blocks[0].text) is trusted
