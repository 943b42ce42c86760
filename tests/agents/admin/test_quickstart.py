"""Snippets of the page "Get started"."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from agents.admin.quickstart import Block, tabs

CLIENT = Path(__file__).resolve().parents[3] / "client_sdk"
SHOWN = tabs("cv_key", "https://watchdog.example.com", "my-agent")
PYTHON = [block for tab in SHOWN for block in tab.blocks if block.text.startswith("import clevagent")]


def test_every_tab_is_complete() -> None:
    ids = [block.id for tab in SHOWN for block in tab.blocks]
    assert len(ids) == len(set(ids))
    for tab in SHOWN:
        assert "cv_key" in tab.blocks[-1].text, tab.title
        assert "https://watchdog.example.com" in tab.blocks[-1].text, tab.title


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.id)
def test_python_snippets_use_existing_names(block: Block) -> None:
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
def test_pip_trusts_hosts_without_tls(server: str, trusted: bool) -> None:
    assert ("--trusted-host watchdog.local" in tabs("k", server, "a")[0].blocks[0].text) is trusted
