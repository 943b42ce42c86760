"""`flush()` is true only when the server has it, and what the server left out or refused is said."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import clevagent
import pytest
from clevagent.log import _said
from clevagent.testing import FakeServer
from clevagent.transport import Answer, UnreachableError

from tests.client_sdk.wire import Agent, Server

REFUSED = Answer(422, {"error": {"code": "invalid", "message": "no"}})


@pytest.fixture(autouse=True)
def _nothing_said_before() -> None:
    _said.clear()


@pytest.fixture
def server() -> Server:
    return Server()


def heard(agent: Agent, seconds: float) -> list[str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        agent.let_pass(seconds)
    return [str(each.message) for each in said]


def test_refused_detail_keeps_the_agent_alive(server: Server) -> None:
    agent = Agent(server, agent_type="lang\ufffdchain", labels={"a": "b"})
    server.says = lambda beat: REFUSED if "agent_type" in beat or "labels" in beat else None
    agent.let_pass(1)
    assert [(beat["agent"], beat["status"]) for beat in server.order] == [("bot", "ok")]
    assert agent.reporter.confirm()


@pytest.mark.parametrize("status", ["shutdown", "error"])
def test_refused_detail_keeps_the_status(server: Server, status: str) -> None:
    agent = Agent(server)
    agent.step()
    server.says = lambda beat: REFUSED if "message" in beat else None
    agent.client.recorder.report(status, message="x")
    agent.let_pass(2)
    assert server.order[-1]["status"] == status


def test_refusal_makes_flush_false_until_acceptance(server: Server) -> None:
    agent = Agent(server)
    server.says = lambda beat: REFUSED
    assert any("refused" in text for text in heard(agent, 40))
    assert [agent.reporter.confirm(), agent.reporter.confirm()] == [False, False]
    server.says = lambda beat: None
    agent.let_pass(31)
    assert agent.reporter.confirm()


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": "cv_" + "0" * 20 + "\n" + "0" * 20},
        {"api_key": "", "endpoint": "http://127.0.0.1:9"},
        {"api_key": "cv_" + "0" * 40, "endpoint": "ftp://watch.example"},
    ],
)
def test_refused_init_has_sent_nothing(
    settings: Any, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.delenv("CLEVAGENT_API_KEY", raising=False)
    monkeypatch.setattr(clevagent, "_has_sent_all", True)
    assert clevagent.flush()
    clevagent.init(agent="bot", **settings)
    clevagent.ping(message="hello")
    assert clevagent.flush() is False
    assert any("not reporting" in str(each.message) for each in recwarn)


def test_end_without_an_answer_has_not_sent_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clevagent, "_has_sent_all", True)
    with FakeServer() as server:
        clevagent.init(server.key, "bot", endpoint=server.url, auto_cost=False, spool=False)
        assert clevagent.flush()
        server.status = 503
        clevagent.shutdown()
        assert clevagent.flush() is False
        server.status = 200
        clevagent.init(server.key, "bot", endpoint=server.url, auto_cost=False, spool=False)
        clevagent.shutdown()
        assert clevagent.flush() is True


def test_loss_is_reported_once_accepted_later(server: Server) -> None:
    agent = Agent(server)
    server.says = lambda beat: REFUSED if beat["seq"] == 1 else None
    heard(agent, 40)
    assert len(server.order) == 1
    assert not agent.reporter.confirm()
    agent.let_pass(31)
    assert agent.reporter.confirm()


@pytest.mark.parametrize(("field", "confirmed"), [("labels", True), ("cost_usd", False), ("usage", False)])
def test_what_the_server_left_out_is_said(
    server: Server, caplog: pytest.LogCaptureFixture, field: str, confirmed: bool
) -> None:
    agent = Agent(server)
    server.says = lambda beat: Answer(200, {"agent_id": 1, "left_out": {field: "too much"}})
    with caplog.at_level(logging.WARNING, "clevagent"):
        agent.let_pass(1)
    assert f"{field}: too much" in caplog.text
    assert agent.reporter.confirm() is confirmed


@pytest.mark.parametrize("status", [401, 403, 404])
def test_refused_key_is_said_once_and_loudly(server: Server, status: int) -> None:
    agent = Agent(server)
    server.says = lambda beat: Answer(status, {"error": {"code": "x", "message": "The key is unknown."}})
    said = heard(agent, 600)
    assert len(said) == 1
    assert "The key is unknown." in said[0]
    assert not agent.reporter.confirm()


def away(server: Server, **why: Any) -> None:
    def request(method: str, path: str, body: Any = None) -> Answer:
        raise UnreachableError("no route", **why)

    server.request = request  # type: ignore[method-assign]


def test_mistake_on_this_machine_is_said_at_once(server: Server) -> None:
    agent = Agent(server)
    away(server, needs_fix=True)
    assert len(heard(agent, 5)) == 1


def test_address_that_never_answers_is_said(server: Server) -> None:
    agent = Agent(server)
    away(server)
    assert heard(agent, 20) == []
    (text,) = heard(agent, 600)
    assert "http://127.0.0.1:8000 does not answer (no route)" in text


def test_outage_is_not_loud(server: Server) -> None:
    agent = Agent(server)
    agent.let_pass(1)
    server.away = True
    assert heard(agent, 600) == []


def test_age_tells_how_old_a_heartbeat_is(server: Server) -> None:
    agent = Agent(server)
    server.away = True
    agent.client.log_cost(1, 0.5)
    agent.let_pass(100)
    server.away = False
    agent.let_pass(60)
    ages = [beat["age"] for beat in server.order]
    assert ages == sorted(ages, reverse=True)
    assert ages[0] >= 100 > 60 > ages[-1]
