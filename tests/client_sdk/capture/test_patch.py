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


def test_what_passes_is_seen_and_nothing_is_changed() -> None:
    seen: list[Any] = []
    client = a_class()
    assert Patch(client, "process", {"data"}, lambda owner, kwargs: seen.append((type(owner), kwargs))).apply()
    assert client().process(data=1) == "own 1"
    assert seen == [(client, {"data": 1})]


def test_a_class_method_stays_one_for_subclasses_too() -> None:
    seen: list[Any] = []
    client = a_class()
    assert Patch(client, "build", {"data"}, lambda owner, kwargs: seen.append(owner)).apply()
    child: Any = type("Child", (client,), {})
    assert child.build(data=1) == "Child 1"
    assert seen == [child]


@pytest.mark.parametrize(("name", "needs"), [("process", {"data", "cast_to"}), ("gone", {"data"}), ("value", set())])
def test_a_function_that_is_not_as_known_is_left_alone(name: str, needs: set[str], caplog: Any) -> None:
    client = a_class()
    client.value = 3
    before = dict(vars(client))
    assert not Patch(client, name, needs, lambda owner, kwargs: None).apply()
    assert dict(vars(client)) == before


def test_a_method_that_moved_to_another_class_is_left_alone() -> None:
    child = type("Child", (a_class(),), {})
    assert not Patch(child, "process", {"data"}, lambda owner, kwargs: None).apply()
    assert "process" not in vars(child)


def test_our_own_failure_does_not_reach_the_caller() -> None:
    def fail(owner: Any, kwargs: Any) -> None:
        raise RuntimeError("ours")

    client = a_class()
    Patch(client, "process", {"data"}, fail).apply()
    assert client().process(data=1) == "own 1"


def test_undo_restores_the_function_that_was_there() -> None:
    client = a_class()
    before = vars(client)["process"]
    patch = Patch(client, "process", {"data"}, lambda owner, kwargs: None)
    patch.apply()
    assert vars(client)["process"] is not before
    patch.undo()
    assert vars(client)["process"] is before


def test_undo_leaves_what_somebody_else_has_put_there_since() -> None:
    seen: list[Any] = []
    client = a_class()
    patch = Patch(client, "process", {"data"}, lambda owner, kwargs: seen.append(kwargs))
    patch.apply()
    ours = client.process
    client.process = lambda self, **kwargs: f"theirs, {ours(self, **kwargs)}"
    patch.undo()
    assert client().process(data=1) == "theirs, own 1"
    assert seen == []
