from __future__ import annotations

from typing import Any

import pytest
from clevagent.capture.patch import Patch


def a_class() -> Any:
    class Client:
        def process(self, *, data: Any, response: Any = None) -> str:
            return f"own {data}"

        @classmethod
        def build(cls, *, data: Any) -> str:
            return f"{cls.__name__} {data}"

    return Client


def test_patch_observes_without_changing() -> None:
    seen: list[Any] = []
    client = a_class()
    assert Patch(client, "process", {"data"}, lambda owner, kwargs: seen.append((type(owner), kwargs))).apply()
    assert client().process(data=1) == "own 1"
    assert seen == [(client, {"data": 1})]


def test_patched_classmethod_works_in_subclasses() -> None:
    seen: list[Any] = []
    client = a_class()
    assert Patch(client, "build", {"data"}, lambda owner, kwargs: seen.append(owner)).apply()
    child: Any = type("Child", (client,), {})
    assert child.build(data=1) == "Child 1"
    assert seen == [child]


@pytest.mark.parametrize(("name", "needs"), [("process", {"data", "cast_to"}), ("gone", {"data"}), ("value", set())])
def test_unexpected_function_is_not_patched(name: str, needs: set[str], caplog: Any) -> None:
    client = a_class()
    client.value = 3
    before = dict(vars(client))
    assert not Patch(client, name, needs, lambda owner, kwargs: None).apply()
    assert dict(vars(client)) == before


def test_inherited_method_is_not_patched() -> None:
    child = type("Child", (a_class(),), {})
    assert not Patch(child, "process", {"data"}, lambda owner, kwargs: None).apply()
    assert "process" not in vars(child)


def test_observer_errors_do_not_reach_the_caller() -> None:
    def fail(owner: Any, kwargs: Any) -> None:
        raise RuntimeError("ours")

    client = a_class()
    Patch(client, "process", {"data"}, fail).apply()
    assert client().process(data=1) == "own 1"


def test_undo_restores_the_function() -> None:
    client = a_class()
    before = vars(client)["process"]
    patch = Patch(client, "process", {"data"}, lambda owner, kwargs: None)
    patch.apply()
    assert vars(client)["process"] is not before
    patch.undo()
    assert vars(client)["process"] is before


def test_undo_keeps_later_patches() -> None:
    seen: list[Any] = []
    client = a_class()
    patch = Patch(client, "process", {"data"}, lambda owner, kwargs: seen.append(kwargs))
    patch.apply()
    ours = client.process
    client.process = lambda self, **kwargs: f"theirs, {ours(self, **kwargs)}"
    patch.undo()
    assert client().process(data=1) == "theirs, own 1"
    assert seen == []
