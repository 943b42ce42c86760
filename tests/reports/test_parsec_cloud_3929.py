"""https://github.com/Scille/parsec-cloud/issues/3929

A panic in Rust code is no ordinary exception in Python, so the program crashes without an error in the log.
"""

from __future__ import annotations

from tests.client_sdk.test_failures import PanicException
from tests.client_sdk.wire import Agent, Server


def test_panic_is_reported_as_a_crash() -> None:
    server = Server()
    agent = Agent(server)
    agent.client.crashed(PanicException("unwrap on None"), "")
    agent.let_pass(2)
    assert server.order[0]["status"] == "error"
    assert server.order[0]["message"] == "CRASH: PanicException: unwrap on None"
