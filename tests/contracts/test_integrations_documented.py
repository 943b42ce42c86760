"""Every framework has a heading with an example, and a test that runs it with its program and environment."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from clevagent import integrations

from tests.client_sdk import environments
from tests.client_sdk.integrations import document
from tests.client_sdk.integrations.cases import PROGRAMS, Integration

FOLDER = Path(integrations.__file__).parent
each_name = pytest.mark.parametrize("name", integrations.ALL)


def test_headings_are_the_frameworks_in_order() -> None:
    assert document.headings() == [*integrations.ALL, "Add an integration"]


def test_every_file_is_listed() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "report"} == set(integrations.ALL)


@each_name
def test_framework_has_test_program_and_environment(name: str) -> None:
    module = importlib.import_module(f"tests.client_sdk.integrations.test_{name}")
    classes = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Integration)]
    (case,) = [kind for kind in classes if "NAME" in vars(kind)]
    assert name == case.NAME
    assert (PROGRAMS / f"with_{name}.py").exists()
    assert environments.asked_for(case.ENVIRONMENT)


@each_name
def test_example_imports_the_integration(name: str) -> None:
    assert f"from clevagent.integrations.{name} import " in document.example(name)
