from __future__ import annotations

import json

import pytest
from clevagent.testing import FakeServer

from tests.client_sdk.capture.model_server import ModelServer
from tests.client_sdk.capture.test_sdks import PROGRAMS, variables
from tests.client_sdk.environments import run

pytestmark = pytest.mark.live


def test_usage_matches_despite_failing_calls() -> None:
    with ModelServer() as models, FakeServer() as server:
        said = json.loads(run("llmock", PROGRAMS / "llmock_calls.py", env=variables(models, server)))
        found = [(use["model"], use.get("input_tokens", 0), use.get("output_tokens", 0)) for use in server.usage()]
    assert sorted(found) == sorted(map(tuple, said))
    assert len(found) == 10
