"""https://github.com/cognizant-ai-lab/neuro-san/issues/1020

A model is at its limit, and the fallback answers.
"""

from __future__ import annotations

from tests.client_sdk.wire import Agent, Server


def test_fallback_that_answers_is_no_failure() -> None:
    server = Server()
    agent = Agent(server)
    agent.client.recorder.fail("LLM error: 429")
    agent.let_pass(5)
    agent.client.ping(message="the second model answered")
    agent.let_pass(60)
    assert {beat["status"] for beat in server.order} == {"ok"}
