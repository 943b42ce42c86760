from __future__ import annotations

from pathlib import Path

import pytest

from tests.client_sdk import environments

pytestmark = pytest.mark.live


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLEVAGENT_TEST_ENVIRONMENTS", str(tmp_path / "built"))
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    environments.python_of.cache_clear()
    return tmp_path


def test_environment_is_rebuilt_on_change(home: Path) -> None:
    (home / "empty.txt").write_text("# asked for: \n")
    stamp = environments.python_of("empty").parents[1] / "built-from"
    first = stamp.stat().st_mtime_ns
    environments.python_of.cache_clear()
    environments.python_of("empty")
    assert stamp.stat().st_mtime_ns == first
    (home / "empty.txt").write_text("# asked for: nothing\n")
    environments.python_of.cache_clear()
    environments.python_of("empty")
    assert stamp.stat().st_mtime_ns > first


def test_unreachable_registry_skips_the_test(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"DEFAULT_INDEX": "http://127.0.0.1:1/simple", "HTTP_RETRIES": "0", "NO_CACHE": "1"}.items():
        monkeypatch.setenv(f"UV_{name}", value)
    (home / "unreachable.txt").write_text("# asked for: openai\nopenai==3.54.0\n")
    with pytest.raises(pytest.skip.Exception, match="registry cannot be reached"):
        environments.python_of("unreachable")


def test_unavailable_version_fails(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    (home / "conflict.txt").write_text("# asked for: openai\nopenai==3.54.0\nopenai==3.53.0\n")
    with pytest.raises(AssertionError, match="No solution found"):
        environments.python_of("conflict")


def test_program_cannot_import_the_server(home: Path) -> None:
    (home / "empty.txt").write_text("# asked for: \n")
    (home / "beside.py").write_text("")
    program = home / "program.py"
    program.write_text(
        "import beside, importlib.util as u, sys\n"
        "print(sys.argv[1], *(u.find_spec(name) is not None for name in ('clevagent', 'agents')))"
    )
    assert environments.run("empty", program, "word").split() == ["word", "True", "False"]


def test_failing_program_fails_the_test(home: Path) -> None:
    (home / "empty.txt").write_text("# asked for: \n")
    program = home / "program.py"
    program.write_text("raise SystemExit('told you')")
    with pytest.raises(AssertionError, match="told you"):
        environments.run("empty", program)
