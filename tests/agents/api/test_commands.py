"""What runners ask and answer over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agents.models import Agent, AgentName, Command, Runner
from tests.agents.api.conftest import Call, caller

pytestmark = pytest.mark.django_db


@pytest.fixture
def command(as_agent: Call, as_full: Call, agent: Agent) -> Command:
    """A restart that waits for the runner on `as_agent`'s key."""
    target = {"restart_type": "systemd", "restart_target": "research-agent.service"}
    as_agent("GET", "commands")
    as_agent("POST", "heartbeat", {"agent": "research-agent", "status": "ok", **target})
    return Command.objects.get(pk=as_full("POST", f"agents/{agent.pk}/restart").json()["id"])


def test_no_commands_is_an_empty_list(as_agent: Call) -> None:
    answer = as_agent("GET", "commands")
    assert (answer.status_code, answer.json()) == (200, [])


def test_errors_are_empty_lists(as_agent: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = caller("cv_" + "a" * 40)("GET", "commands")
    assert (unknown.status_code, unknown.json()) == (401, [])
    monkeypatch.setattr("agents.api.commands.dispatch.hand_out", lambda **_: 1 / 0)
    broken = as_agent("GET", "commands")
    assert (broken.status_code, broken.json()) == (500, [])


def test_rate_limit_is_an_empty_list(as_agent: Call) -> None:
    answers = [as_agent("GET", "commands") for _ in range(402)]
    assert answers[-1].json() == []
    assert 429 in {answer.status_code for answer in answers}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS"])
def test_other_methods_return_a_list(as_full: Call, method: str) -> None:
    answer = as_full(method, "commands")
    assert (answer.status_code, answer.json()) == (405, [])


def test_read_key_takes_no_command(as_full: Call, as_reader: Call, command: Command) -> None:
    assert as_full("HEAD", "commands").status_code == 405
    assert as_reader("GET", "commands").json() == []
    command.refresh_from_db()
    assert command.state == "pending"
    assert Runner.objects.count() == 1


def test_result_is_recorded_once(as_agent: Call, command: Command) -> None:
    as_agent("GET", "commands")
    answer = as_agent("POST", f"commands/{command.pk}/result", {"status": "completed", "message": "up again"})
    assert (answer.status_code, answer.json()["state"], answer.json()["result"]) == (200, "completed", "up again")
    again = as_agent("POST", f"commands/{command.pk}/result", {"status": "failed"})
    assert (again.status_code, again.json()["state"]) == (200, "completed")


@pytest.mark.parametrize("message", [None, "", "a\0b", "x" * 5000, 17, {"code": 1}])
def test_any_result_message_is_accepted(as_agent: Call, command: Command, message: Any) -> None:
    as_agent("GET", "commands")
    answer = as_agent("POST", f"commands/{command.pk}/result", {"status": "failed", "message": message})
    assert (answer.status_code, answer.json()["state"]) == (200, "failed")


@pytest.mark.parametrize("body", [{}, {"status": "done"}, {"status": "pending"}, {"status": 5}])
def test_unknown_result_is_refused(as_agent: Call, command: Command, body: dict[str, Any]) -> None:
    as_agent("GET", "commands")
    answer = as_agent("POST", f"commands/{command.pk}/result", body)
    assert (answer.status_code, list(answer.json()["error"]["fields"])) == (422, ["status"])


def test_runners_are_distinguished_by_name(as_agent: Call, as_full: Call, agent: Agent) -> None:
    first, second = ({"headers": {"X-ClevAgent-Runner": name}} for name in ("one", "two"))
    beat = {"agent": "research-agent", "status": "ok", "restart_type": "process", "restart_target": "/run/a.pid"}
    as_agent("GET", "commands", **first)
    as_agent("POST", "heartbeat", beat, **first)
    as_full("POST", f"agents/{agent.pk}/stop")
    assert as_agent("GET", "commands", **second).json() == []
    assert len(as_agent("GET", "commands", **first).json()) == 1


# A runner's own restart

WISH = {
    "agent": "research-agent",
    "type": "systemd",
    "target": "research-agent.service",
    "cause": "systemd says failed",
}


def test_runner_may_restart_a_target_that_is_down(as_agent: Call, agent: Agent) -> None:
    answer = as_agent("POST", "commands", WISH)
    item = answer.json()
    assert (answer.status_code, 290 < item.pop("expires_in") <= 300) == (201, True)
    made = Command.objects.get()
    asked = {"action": "restart", "type": "systemd", "target": "research-agent.service", "agent": "research-agent"}
    assert asked.items() < item.items()
    assert (item["id"], item["reason"], made.state) == (made.pk, "runner: systemd says failed", "leased")
    assert as_agent("GET", "commands").json() == []
    done = as_agent("POST", f"commands/{made.pk}/result", {"status": "completed"})
    assert (done.status_code, done.json()["origin"]) == (200, "runner")


def test_refusal_says_why_and_when_to_retry(as_agent: Call, agent: Agent) -> None:
    as_agent("POST", "commands", WISH)
    live = as_agent("POST", "commands", WISH)
    assert (live.status_code, live.json()["error"]["code"]) == (409, "command_live")
    assert 290 <= int(live.headers["Retry-After"]) <= 300
    Command.objects.update(state="completed")
    soon = as_agent("POST", "commands", WISH)
    assert (soon.json()["error"]["code"], 50 <= int(soon.headers["Retry-After"]) <= 60) == ("restart_delay", True)
    Agent.objects.update(restart_policy="off")
    off = as_agent("POST", "commands", WISH)
    assert (off.status_code, off.json()["error"]["code"], "Retry-After" in off.headers) == (409, "restart_off", False)


def test_alias_identifies_the_agent(as_agent: Call, agent: Agent) -> None:
    AgentName.objects.create(project=agent.project, name="research-agent.service", agent=agent)
    assert as_agent("POST", "commands", {**WISH, "agent": "research-agent.service"}).status_code == 201


def test_other_projects_agent_is_unknown(as_stranger: Call, as_agent: Call, agent: Agent) -> None:
    for call, name in ((as_stranger, "research-agent"), (as_agent, "nobody")):
        answer = call("POST", "commands", {**WISH, "agent": name})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert not Command.objects.exists()


@pytest.mark.parametrize("field", list(WISH))
def test_preflight_names_missing_fields(as_agent: Call, agent: Agent, field: str) -> None:
    answer = as_agent("POST", "commands", {name: value for name, value in WISH.items() if name != field})
    assert (answer.status_code, list(answer.json()["error"]["fields"])) == (422, [field])


def test_preflight_errors_are_not_lists(as_reader: Call, agent: Agent) -> None:
    assert as_reader("POST", "commands", WISH).json()["error"]["code"] == "scope"


def test_fourth_restart_within_an_hour_is_refused(as_full: Call, agent: Agent) -> None:
    now = timezone.now()
    for minutes in (50, 40, 30):
        at = now - timedelta(minutes=minutes)
        facts = {"action": "restart", "type": "systemd", "target": "x", "state": "completed", "expires_at": at}
        Command.objects.create(agent=agent, leased_at=at, **facts)
    answer = as_full("POST", f"agents/{agent.pk}/restart")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "restart_budget")
    assert 590 <= int(answer.headers["Retry-After"]) <= 600
    assert answer.json()["error"]["message"].endswith("Try again in 10 minutes.")
