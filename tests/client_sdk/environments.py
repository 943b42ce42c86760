"""Separate environments for tests with real third-party libraries in pinned versions.

`environments/NAME.txt` contains every package's exact version, and in its first line the requested packages. To update
it to the newest dependencies, run `python -m tests.client_sdk.environments NAME …`. Environments are built in
`.test-environments/`, or in the folder set by CLEVAGENT_TEST_ENVIRONMENTS.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import uv

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "client_sdk"
REQUIREMENTS = Path(__file__).with_suffix("")
ASKED_FOR = "# asked for: "
UNREACHABLE = ("error sending request", "timed out", "HTTP status server error")


@functools.cache
def python_of(name: str) -> Path:
    """Return the interpreter of the environment in `environments/NAME.txt`, building it if missing or outdated.

    Skips the test if the package registry is unreachable; fails it if the versions conflict.
    """
    home = Path(os.environ.get("CLEVAGENT_TEST_ENVIRONMENTS") or ROOT / ".test-environments")
    home.mkdir(parents=True, exist_ok=True)
    with (home / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _built(home / name, REQUIREMENTS / f"{name}.txt")


def run(name: str, program: Path, *args: str, env: dict[str, str] | None = None, timeout: float = 120) -> str:
    """Run a program in environment `name` with clevagent importable, and return its output.

    The program sees its own folder and `client_sdk`, nothing else of the checkout. Warnings from clevagent's modules
    are errors. If the program fails, raises AssertionError with its output.
    """
    command = [str(python_of(name)), *_warnings_as_errors(), str(program), *args]
    variables = {**os.environ, "PYTHONPATH": str(CLIENT), **(env or {})}
    done = subprocess.run(
        command, env=variables, cwd=program.parent, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"{program.name} in {name} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def asked_for(name: str) -> list[str]:
    """Return what environment `name` was requested for, such as `["openai==3.54.0"]`, without dependencies."""
    first = (REQUIREMENTS / f"{name}.txt").read_text().splitlines()[0]
    return first.removeprefix(ASKED_FOR).split()


def lock(name: str) -> None:
    """Rewrite `environments/NAME.txt` with the newest dependencies, for every supported platform."""
    path = REQUIREMENTS / f"{name}.txt"
    wanted = asked_for(name)
    options = ["--universal", "--python-version", "3.11", "--no-annotate", "--no-header", "--emit-build-options"]
    pins = subprocess.run(
        [uv.find_uv_bin(), "pip", "compile", *options, *_excludes(path), "--quiet", "-"],
        input="\n".join(wanted),
        capture_output=True,
        text=True,
        check=True,
    )
    path.write_text(f"{ASKED_FOR}{' '.join(wanted)}\n{pins.stdout}")


def _built(folder: Path, requirements: Path) -> Path:
    python, stamp = folder / "bin" / "python", folder / "built-from"
    wanted = hashlib.sha256(f"{sys.version}{sys.base_prefix}{requirements.read_text()}".encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    _uv("venv", "--python", sys.executable, str(folder))
    _uv("pip", "install", "--python", str(python), "--requirements", str(requirements), *_excludes(requirements))
    stamp.write_text(wanted)
    return python


def _excludes(requirements: Path) -> list[str]:
    path = requirements.with_suffix(".excludes")
    return ["--excludes", str(path)] if path.exists() else []


def _uv(*args: str) -> None:
    done = subprocess.run([uv.find_uv_bin(), *args], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    if any(sign in done.stderr for sign in UNREACHABLE):
        errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
        pytest.skip(f"the package registry cannot be reached: {' '.join(errors)}")
    raise AssertionError(f"uv {' '.join(args)}\n{done.stderr}")


def _warnings_as_errors() -> list[str]:
    # -W only accepts full module names.
    files = (path.relative_to(CLIENT).with_suffix("") for path in (CLIENT / "clevagent").rglob("*.py"))
    modules = (".".join(file.parts).removesuffix(".__init__") for file in files)
    return [option for module in sorted(modules) for option in ("-W", f"error:::{module}")]


if __name__ == "__main__":
    for each in sys.argv[1:]:
        lock(each)
