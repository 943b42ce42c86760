"""https://github.com/getsentry/relay/issues/2661

What is unsent when the process stops is lost, although there is a disk.
"""

from __future__ import annotations

from pathlib import Path

from clevagent.spool import Place

from tests.client_sdk.test_spool import end
from tests.client_sdk.wire import Agent, Server


def test_unsent_goodbye_survives_the_end(tmp_path: Path) -> None:
    place, server = Place(tmp_path / "unsent"), Server()
    agent = Agent(server, spool=place)
    server.away = True
    end(agent)
    server.away = False
    Agent(server, agent="next", spool=place).let_pass(1)
    assert [beat["status"] for beat in server.order] == ["shutdown", "ok"]
