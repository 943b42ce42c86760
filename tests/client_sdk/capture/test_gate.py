"""Each model SDK, in each supported release: the call after an exceeded budget is never sent."""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import Any

import clevagent
import pytest
from clevagent.capture.gate import Gate

from tests.client_sdk.capture.model_server import ModelServer
from tests.client_sdk.capture.test_sdks import PROGRAMS
from tests.client_sdk.environments import run

RELEASES = [
    *(("models_oldest", sdk) for sdk in ("openai", "anthropic")),
    *(("models_newest", sdk) for sdk in ("openai", "anthropic")),
    *((release, "google") for release in ("google_oldest", "google_newest")),
    *((release, "litellm") for release in ("litellm_oldest", "litellm_newest")),
]


@pytest.mark.live
@pytest.mark.parametrize(("environment", "sdk"), RELEASES)
def test_stopped_call_is_never_sent(environment: str, sdk: str) -> None:
    with ModelServer() as models:
        env = {"MODEL_SERVER": models.url, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        printed = json.loads(run(environment, PROGRAMS / "stopped_calls.py", sdk, env=env).splitlines()[-1])
        sent = sum(len(uses) for uses in models.said.values())
    assert printed == dict.fromkeys(printed, "BudgetExceeded after 2")
    assert sent == 2 * len(printed)


class Client:
    def request(self, cast_to: Any, options: str) -> str:
        return f"sent {options}"

    async def later(self, cast_to: Any, options: str) -> str:
        return f"sent {options}"


@pytest.fixture
def client() -> Any:
    return type("Client", (), dict(vars(Client)))


def stop(owner: Any, given: Any) -> None:
    raise clevagent.BudgetExceeded(f"not {given['options']}")


def test_stop_reaches_the_caller(client: Any) -> None:
    gates = [Gate(client, name, {"options"}, stop) for name in ("request", "later")]
    assert all(gate.apply() for gate in gates)
    with pytest.raises(clevagent.BudgetExceeded, match="not x"):
        client().request(str, "x")
    assert inspect.iscoroutinefunction(client.later)
    with pytest.raises(clevagent.BudgetExceeded, match="not x"):
        asyncio.run(client().later(str, options="x"))
    for gate in gates:
        gate.undo()
    assert client().request(str, "x") == "sent x"


def test_our_error_does_not_stop_a_call(client: Any) -> None:
    def fail(owner: Any, given: Any) -> None:
        raise RuntimeError("ours")

    assert Gate(client, "request", {"options"}, fail).apply()
    assert client().request(str, "x") == "sent x"
    with pytest.raises(TypeError, match="options"):
        client().request(str)
