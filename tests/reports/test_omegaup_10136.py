"""https://github.com/omegaup/omegaup/issues/10136

A cron job that ends with sys.exit(0) is recorded as failed.
"""

from __future__ import annotations

from tests.client_sdk.wire import Agent, Server


def test_exit_without_an_error_is_no_failure() -> None:
    server = Server()
    agent = Agent(server)
    agent.client.failed("job", SystemExit(0))
    agent.let_pass(60)
    assert {beat["status"] for beat in server.order} == {"ok"}
