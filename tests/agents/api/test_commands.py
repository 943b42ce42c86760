"""What runners ask and answer over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from agents.models import Agent, Command, Runner
from tests.agents.api.conftest import Call, caller

pytestmark = pytest.mark.django_db


@pytest.fixture
def command(as_agent: Call, as_full: Call, agent: Agent) -> Command:
    """A restart that waits for the runner on `as_agent`'s key."""
    target = {"restart_type": "systemd", "restart_target": "research-agent.service"}
    as_agent("GET", "commands")
    as_agent("POST", "heartbeat", {"agent": "research-agent", "status": "ok", **target})
    return Command.objects.get(pk=as_full("POST", f"agents/{agent.pk}/restart").json()["id"])


def test_with_nothing_to_do_the_answer_is_an_empty_list(as_agent: Call) -> None:
    answer = as_agent("GET", "commands")
    assert (answer.status_code, answer.json()) == (200, [])


def test_errors_are_empty_lists_too(as_agent: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = caller("cv_" + "a" * 40)("GET", "commands")
    assert (unknown.status_code, unknown.json()) == (401, [])
    monkeypatch.setattr("agents.api.commands.commands.hand_out", lambda **_: 1 / 0)
    broken = as_agent("GET", "commands")
    assert (broken.status_code, broken.json()) == (500, [])


def test_over_the_rate_the_list_is_empty(as_agent: Call) -> None:
    answers = [as_agent("GET", "commands") for _ in range(402)]
    assert answers[-1].json() == []
    assert 429 in {answer.status_code for answer in answers}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_another_method_answers_a_list_as_well(as_full: Call, method: str) -> None:
    answer = as_full(method, "commands")
    assert (answer.status_code, answer.json()) == (405, [])


def test_a_look_takes_no_command(as_full: Call, as_reader: Call, command: Command) -> None:
    assert as_full("HEAD", "commands").status_code == 405
    assert as_reader("GET", "commands").json() == []
    command.refresh_from_db()
    assert command.state == "pending"
    assert Runner.objects.count() == 1


def test_a_result_is_noted_once(as_agent: Call, command: Command) -> None:
    as_agent("GET", "commands")
    answer = as_agent("POST", f"commands/{command.pk}/result", {"status": "completed", "message": "up again"})
    assert (answer.status_code, answer.json()["state"], answer.json()["result"]) == (200, "completed", "up again")
    again = as_agent("POST", f"commands/{command.pk}/result", {"status": "failed"})
    assert (again.status_code, again.json()["state"]) == (200, "completed")


@pytest.mark.parametrize("message", [None, "", "a\0b", "x" * 5000, 17, {"code": 1}])
def test_a_result_is_not_refused_over_its_words(as_agent: Call, command: Command, message: Any) -> None:
    as_agent("GET", "commands")
    answer = as_agent("POST", f"commands/{command.pk}/result", {"status": "failed", "message": message})
    assert (answer.status_code, answer.json()["state"]) == (200, "failed")


@pytest.mark.parametrize("body", [{}, {"status": "done"}, {"status": "pending"}, {"status": 5}])
def test_an_unknown_result_is_refused_by_name(as_agent: Call, command: Command, body: dict[str, Any]) -> None:
    as_agent("GET", "commands")
    answer = as_agent("POST", f"commands/{command.pk}/result", body)
    assert (answer.status_code, list(answer.json()["error"]["fields"])) == (422, ["status"])


def test_runners_are_told_apart_by_their_own_name(as_agent: Call, as_full: Call, agent: Agent) -> None:
    first, second = ({"headers": {"X-ClevAgent-Runner": name}} for name in ("one", "two"))
    beat = {"agent": "research-agent", "status": "ok", "restart_type": "process", "restart_target": "/run/a.pid"}
    as_agent("GET", "commands", **first)
    as_agent("POST", "heartbeat", beat, **first)
    as_full("POST", f"agents/{agent.pk}/stop")
    assert as_agent("GET", "commands", **second).json() == []
    assert len(as_agent("GET", "commands", **first).json()) == 1
