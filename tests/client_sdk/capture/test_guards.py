"""The SDKs come first: what we cannot watch we leave alone, and what we did we undo."""

from __future__ import annotations

import pytest
from clevagent.testing import FakeServer

from tests.client_sdk.capture.model_server import ModelServer
from tests.client_sdk.capture.test_sdks import PROGRAMS, by_model, variables
from tests.client_sdk.environments import run

pytestmark = pytest.mark.live


@pytest.mark.parametrize(
    ("change", "said"), [("move", "is not as it was"), ("rename", "is not as it was"), ("fail", "not all counted")]
)
def test_a_changed_sdk_works_on_uncounted_and_that_is_said_once(change: str, said: str) -> None:
    with ModelServer() as models, FakeServer() as server:
        printed = run("models_middle", PROGRAMS / "changed_sdk.py", change, env=variables(models, server))
        assert server.usage() == []
        assert server.beats
    assert said in printed


def test_switched_off_it_leaves_nothing_behind() -> None:
    with ModelServer() as models, FakeServer() as server:
        run("models_middle", PROGRAMS / "switched_off.py", env=variables(models, server))
        assert by_model(server.usage()) == models.said
        assert list(models.said) == ["watched-once"]


def test_watching_imports_no_sdk() -> None:
    with ModelServer() as models, FakeServer() as server:
        run("models_middle", PROGRAMS / "light.py", env=variables(models, server))
