"""The model SDKs come first: unsupported ones are not touched, and every change can be undone."""

from __future__ import annotations

import pytest
from clevagent.testing import FakeServer

from tests.client_sdk.capture.model_server import ModelServer
from tests.client_sdk.capture.test_sdks import PROGRAMS, by_model, variables
from tests.client_sdk.environments import run

pytestmark = pytest.mark.live


@pytest.mark.parametrize(
    ("change", "said"), [("move", "is not as expected"), ("rename", "is not as expected"), ("fail", "are not counted")]
)
def test_unsupported_sdk_works_and_warns_once(change: str, said: str) -> None:
    with ModelServer() as models, FakeServer() as server:
        printed = run("models_middle", PROGRAMS / "changed_sdk.py", change, env=variables(models, server))
        assert server.usage() == []
        assert server.beats
    assert said in printed


def test_disabled_capture_leaves_no_trace() -> None:
    with ModelServer() as models, FakeServer() as server:
        run("models_middle", PROGRAMS / "switched_off.py", env=variables(models, server))
        assert by_model(server.usage()) == models.said
        assert list(models.said) == ["watched-once"]


def test_capture_imports_no_sdk() -> None:
    with ModelServer() as models, FakeServer() as server:
        run("models_middle", PROGRAMS / "light.py", env=variables(models, server))
