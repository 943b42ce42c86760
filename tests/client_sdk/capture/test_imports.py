from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
from clevagent.capture import imports


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path; its modules and callbacks are removed after the test."""
    before = set(sys.modules)
    monkeypatch.setattr(imports, "_finder", imports._Finder())
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    imports.forget()
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_later_import_calls_back(folder: Path) -> None:
    told: list[ModuleType] = []
    (folder / "later.py").write_text("value = 1")
    imports.when_imported("later", told.append)
    assert told == []
    assert importlib.import_module("later").value == 1
    assert told == [sys.modules["later"]]


def test_imported_module_calls_back_immediately(folder: Path) -> None:
    told: list[ModuleType] = []
    (folder / "earlier.py").write_text("")
    module = importlib.import_module("earlier")
    imports.when_imported("earlier", told.append)
    assert told == [module]


def test_watched_module_looks_unwatched(folder: Path) -> None:
    (folder / "plain.py").write_text("loader = type(__loader__), type(__spec__.loader)")
    imports.when_imported("plain", lambda module: None)
    plain = importlib.import_module("plain")
    assert plain.loader == (SourceFileLoader, SourceFileLoader)
    assert plain.__spec__ is not None
    assert type(plain.__spec__.loader) is SourceFileLoader


def test_only_the_watched_module_is_touched(folder: Path) -> None:
    (folder / "other.py").write_text("")
    imports.when_imported("wanted", lambda module: None)
    spec = importlib.util.find_spec("other")
    assert spec is not None
    assert type(spec.loader) is SourceFileLoader


def test_find_spec_does_not_call_back(folder: Path) -> None:
    told: list[ModuleType] = []
    (folder / "looked_for.py").write_text("value = 2")
    imports.when_imported("looked_for", told.append)
    spec = importlib.util.find_spec("looked_for")
    assert spec is not None
    assert "value = 2" in spec.loader.get_source("looked_for")  # type: ignore[union-attr]
    assert importlib.util.find_spec("nowhere") is None
    assert told == []


def test_failing_import_still_fails(folder: Path) -> None:
    told: list[ModuleType] = []
    (folder / "broken.py").write_text("raise LookupError('its own')")
    imports.when_imported("broken", told.append)
    imports.when_imported("missing", told.append)
    with pytest.raises(LookupError, match="its own"):
        importlib.import_module("broken")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("missing")
    assert told == []
    assert "broken" not in sys.modules


def test_callback_errors_do_not_reach_the_import(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(module: ModuleType) -> None:
        raise RuntimeError("ours")

    (folder / "fine.py").write_text("value = 3")
    imports.when_imported("fine", fail)
    assert importlib.import_module("fine").value == 3
    assert "cannot watch fine" in caplog.text


def test_concurrent_imports_call_back_once(folder: Path) -> None:
    told: list[ModuleType] = []
    (folder / "slow.py").write_text("import time; time.sleep(0.05)")
    imports.when_imported("slow", told.append)
    threads = [threading.Thread(target=importlib.import_module, args=("slow",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [sys.modules["slow"]]


def test_reloaded_module_calls_back_again(folder: Path) -> None:
    told: list[ModuleType] = []
    (folder / "again.py").write_text("")
    imports.when_imported("again", told.append)
    importlib.reload(importlib.import_module("again"))
    assert len(told) == 2


def test_forget_removes_callbacks_and_finder(folder: Path) -> None:
    told: list[ModuleType] = []
    (folder / "late.py").write_text("")
    finders = list(sys.meta_path)
    imports.when_imported("late", told.append)
    imports.forget()
    importlib.import_module("late")
    assert told == []
    assert sys.meta_path == finders
