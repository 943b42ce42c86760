"""https://github.com/langchain-ai/langchain/pull/22662

Who reads only the beginning of a stream is told of an error.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.client_sdk.wire import Agent, Server


def test_stream_left_early_is_no_failure() -> None:
    server = Server()
    agent = Agent(server)

    def stream() -> Iterator[str]:
        with agent.client.tool("poem"):
            yield from ("one", "two")

    words = stream()
    assert next(words) == "one"
    del words
    agent.let_pass(120)
    assert {beat["status"] for beat in server.order} == {"ok"}
