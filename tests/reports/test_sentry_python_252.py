"""https://github.com/getsentry/sentry-python/issues/252

Each time a Celery task asks to be tried again, an error is captured.
"""

from __future__ import annotations

from celery.exceptions import Retry

from tests.client_sdk.wire import Agent, Server


def test_task_that_is_tried_again_has_not_failed() -> None:
    server = Server()
    agent = Agent(server)
    agent.client.failed("nightly", Retry("not yet", ValueError("overloaded")))
    agent.let_pass(60)
    assert {beat["status"] for beat in server.order} == {"ok"}
