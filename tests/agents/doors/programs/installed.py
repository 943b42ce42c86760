"""Coding agents from npm, in pinned versions, installed once in `.test-environments/`."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.client_sdk import environments

PACKAGES: Final = {
    "claude": ("claude-code", "@anthropic-ai/claude-code@2.1.332"),
    "codex": ("codex", "@openai/codex@0.171.0"),
    "gemini": ("gemini", "@google/gemini-cli@0.61.0"),
}


@cache
def program(name: str) -> Path:
    """The program `claude`, `codex` or `gemini`. Skips the test where npm cannot give it, or where it does not run."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    home = Path(os.environ.get("CLEVAGENT_TEST_ENVIRONMENTS") or environments.ROOT / ".test-environments")
    folder, package = home / PACKAGES[name][0], PACKAGES[name][1]
    found = folder / "node_modules" / ".bin" / name
    home.mkdir(parents=True, exist_ok=True)
    with (home / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            _install(folder, package)
    if subprocess.run([found, "--version"], capture_output=True, check=False).returncode:
        pytest.skip(f"{name} does not run on this machine")
    return found


def _install(folder: Path, package: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), package]
    try:
        subprocess.run(install, capture_output=True, text=True, check=True, timeout=600)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm cannot give {package}: {str(error.stderr)[-200:]}")
