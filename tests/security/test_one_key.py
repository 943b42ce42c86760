"""One key speaks for all: names belong to the key that first used them, and a key can be limited to one agent.

Every case runs against the documented view and against the lane that answers before Django.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.domain.wire.decoding import decode
from agents.fleet import services as fleet
from agents.ingest import committer
from agents.ingest.registration import create_agent
from agents.ingest.write import Received
from agents.models import Agent, AgentName, AgentState, Command, Heartbeat
from teams import auth, services
from teams.models import ApiKey, AuditEntry, Project, User
from teams.services import KeyLimits
from tests.agents.api import lane
from tests.agents.api.conftest import caller
from tests.agents.conftest import World

pytestmark = pytest.mark.django_db
BEAT = {"agent": "bot", "status": "ok"}
MakeKey = Callable[..., tuple[ApiKey, str]]


@pytest.fixture(autouse=True, params=["view", "lane"])
def edge(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    edge: str = request.param
    if edge == "lane":
        lane.use(monkeypatch)
    return edge


@pytest.fixture
def new_key(project: Project) -> MakeKey:
    def make(scope: str = "agent", **limits: Any) -> tuple[ApiKey, str]:
        return services.issue_key(project=project, name="k", scope=scope, actor="test", limits=KeyLimits(**limits))

    return make


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json().get("error", {}).get("code", "")


def sent(raw: str, agent: str = "bot", **more: Any) -> tuple[int, str]:
    return code(caller(raw)("POST", "heartbeat", {**BEAT, "agent": agent, **more}))


def forget_keys() -> None:
    auth._cache.clear()


# Names belong to keys


def test_name_belongs_to_its_first_key(new_key: MakeKey) -> None:
    (_, mine), (_, thief) = new_key(), new_key()
    assert sent(mine) == (200, "")
    assert sent(thief) == (403, "name_bound")
    assert sent(mine) == (200, "")
    assert Heartbeat.objects.count() == 2


def test_refusal_stores_and_changes_nothing(new_key: MakeKey) -> None:
    (_, mine), (_, thief) = new_key(), new_key()
    sent(mine)
    before = AgentState.objects.values().get()
    assert sent(thief, status="shutdown", restart_type="docker", restart_target="db") == (403, "name_bound")
    assert AgentState.objects.values().get() == before


def test_batch_refuses_only_the_bound_name(new_key: MakeKey) -> None:
    (_, mine), (_, thief) = new_key(), new_key()
    sent(mine)
    beats = [BEAT, {**BEAT, "agent": "own"}, BEAT]
    answer = caller(thief)("POST", "heartbeat/batch", {"heartbeats": beats})
    codes = [result.get("error", {}).get("code") for result in answer.json()["results"]]
    assert (answer.status_code, codes) == (200, ["name_bound", None, "name_bound"])


def test_two_keys_in_one_batch_of_new_names(world: World, new_key: MakeKey) -> None:
    callers = [auth.authenticate_key(raw) for _, raw in (new_key(), new_key())]
    beat = b'{"agent": "bot", "status": "ok"}'
    received = [Received(each, decode(beat), timezone.now(), "1/x") for each in callers]
    outcomes = committer.submit(received)
    assert [getattr(outcome, "code", "stored") for outcome in outcomes] == ["stored", "name_bound"]


def test_rotation_keeps_the_names(new_key: MakeKey) -> None:
    (key, mine), (_, thief) = new_key(), new_key()
    sent(mine)
    second, raw = services.rotate_key(key=key, overlap=timedelta(0), actor="test")
    _, third = services.rotate_key(key=second, overlap=timedelta(hours=1), actor="test")
    assert (sent(mine), sent(raw), sent(third)) == ((401, "expired_key"), (200, ""), (200, ""))
    assert sent(thief) == (403, "name_bound")


def test_name_of_a_dead_key_is_free(new_key: MakeKey) -> None:
    (key, mine), (_, other), (_, third) = new_key(), new_key(), new_key()
    sent(mine)
    services.revoke_key(key=key, actor="test", now=timezone.now())
    assert sent(other) == (200, "")
    assert sent(third) == (403, "name_bound")
    assert AgentName.objects.get().bound_to == auth.authenticate_key(other).line


def test_revoked_key_with_successor_keeps_names(new_key: MakeKey) -> None:
    (key, mine), (_, thief) = new_key(), new_key()
    sent(mine)
    _, raw = services.rotate_key(key=key, overlap=timedelta(hours=1), actor="test")
    services.revoke_key(key=key, actor="test", now=timezone.now())
    assert (sent(thief), sent(raw)) == ((403, "name_bound"), (200, ""))


def test_existing_project_accepts_any_key(project: Project, new_key: MakeKey) -> None:
    Project.objects.update(bind_names=False)
    (_, mine), (_, other) = new_key(), new_key()
    assert (sent(mine), sent(other), sent(mine)) == ((200, ""),) * 3
    assert AgentName.objects.get().bound_to is None


def test_known_names_are_bound_when_next_used(project: Project, new_key: MakeKey) -> None:
    create_agent(project=project, name="bot", now=timezone.now())
    (_, mine), (_, thief) = new_key(), new_key()
    assert (sent(mine), sent(thief)) == ((200, ""), (403, "name_bound"))


def test_each_alias_has_its_own_key(project: Project, new_key: MakeKey) -> None:
    (_, mine), (_, runner) = new_key(), new_key()
    sent(mine)
    agent = Agent.objects.select_related("project__team").get()
    fleet.change_agent(agent=agent, changes={"aliases": ["bot.service"]}, actor="test", now=timezone.now())
    assert (sent(runner, "bot.service"), sent(mine, "bot.service")) == ((200, ""), (403, "name_bound"))
    assert Agent.objects.count() == 1


def test_released_name_goes_to_the_next_key(new_key: MakeKey, full_key: str) -> None:
    (_, mine), (_, other) = new_key(), new_key()
    sent(mine)
    answer = caller(full_key)("POST", f"agents/{Agent.objects.get().pk}/release")
    assert answer.status_code == 200
    assert (sent(other), sent(mine)) == ((200, ""), (403, "name_bound"))
    assert AuditEntry.objects.filter(action="agent.released").count() == 1


def test_names_of_other_projects_do_not_matter(new_key: MakeKey, stranger: User) -> None:
    theirs = Project.objects.get(team__members=stranger)
    _, strange = services.issue_key(project=theirs, name="k", actor="test")
    _, mine = new_key()
    assert (sent(mine), sent(strange)) == ((200, ""), (200, ""))


def test_bound_names_cost_no_statement(project: Project, new_key: MakeKey) -> None:
    _, mine = new_key()
    sent(mine)

    def statements(bind: bool) -> int:
        Project.objects.update(bind_names=bind)
        forget_keys()
        sent(mine)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            sent(mine)
        return len(queries)

    assert statements(bind=True) == statements(bind=False)


def test_commands_stay_with_the_names_key(new_key: MakeKey) -> None:
    (_, mine), (_, thief) = new_key(), new_key()
    sent(mine, restart_type="systemd", restart_target="bot.service")
    now, agent = timezone.now(), Agent.objects.get()
    command = Command.objects.create(
        agent=agent,
        action="stop",
        type="systemd",
        target="bot.service",
        runner=AgentState.objects.get().runner,
        expires_at=now + timedelta(minutes=5),
    )
    assert caller(thief)("GET", "commands").json() == []
    result = {"status": "completed"}
    assert code(caller(thief)("POST", f"commands/{command.pk}/result", result))[0] == 404
    assert [one["id"] for one in caller(mine)("GET", "commands").json()] == [command.pk]
    grant = {"agent": "bot", "type": "systemd", "target": "bot.service", "cause": "crash"}
    assert code(caller(thief)("POST", "commands", grant)) == (403, "name_bound")


# Keys for one agent


def test_key_for_one_agent_speaks_for_no_other(new_key: MakeKey) -> None:
    _, raw = new_key(agent="bot")
    assert (sent(raw, "other"), sent(raw)) == ((403, "other_agent"), (200, ""))
    assert [agent.name for agent in Agent.objects.all()] == ["bot"]


def test_batch_of_a_key_for_one_agent(new_key: MakeKey) -> None:
    _, raw = new_key(agent="bot")
    answer = caller(raw)("POST", "heartbeat/batch", {"heartbeats": [{**BEAT, "agent": "other"}, BEAT]})
    codes = [result.get("error", {}).get("code") for result in answer.json()["results"]]
    assert codes == ["other_agent", None]
    only = caller(raw)("POST", "heartbeat/batch", {"heartbeats": [{**BEAT, "agent": "other"}]})
    assert only.json()["results"][0]["error"]["code"] == "other_agent"


def test_key_for_one_agent_sees_only_its_own(project: Project, new_key: MakeKey) -> None:
    for name in ("bot", "other"):
        create_agent(project=project, name=name, now=timezone.now())
    _, raw = new_key(agent="bot")
    assert [row["name"] for row in caller(raw)("GET", "status").json()["results"]] == ["bot"]
    health = [caller(raw)("GET", f"agents/by-name/{name}/health").status_code for name in ("bot", "other")]
    assert health == [200, 404]


@pytest.mark.parametrize("scope", ["read", "full"])
def test_other_scopes_cannot_be_for_one_agent(full_key: str, scope: str) -> None:
    answer = caller(full_key)("POST", "keys", {"scope": scope, "agent": "bot"})
    assert code(answer) == (422, "invalid")
    assert "agent" in answer.json()["error"]["fields"]


def test_rotation_keeps_the_limits(new_key: MakeKey) -> None:
    month = timezone.now() + timedelta(days=30)
    key, _ = new_key(agent="bot", allowed_networks=["10.0.0.0/8"], new_agents_per_hour=7, expires_at=month)
    second, _ = services.rotate_key(key=key, overlap=timedelta(0), actor="test")
    third, _ = services.rotate_key(key=second, overlap=timedelta(hours=1), actor="test")
    assert (third.agent, third.allowed_networks, third.new_agents_per_hour) == ("bot", ["10.0.0.0/8"], 7)
    assert third.expires_at is not None
    assert abs(third.expires_at - month) < timedelta(minutes=1)
    assert third.line == key.pk


# New agents per hour


def test_new_agents_per_key_and_hour_are_capped(new_key: MakeKey) -> None:
    key, raw = new_key(new_agents_per_hour=2)
    assert [sent(raw, name)[0] for name in ("a", "b", "c", "a")] == [200, 200, 429, 200]
    second, rotated = services.rotate_key(key=key, overlap=timedelta(0), actor="test")
    assert sent(rotated, "d") == (429, "rate_limited")
    ApiKey.objects.filter(pk=second.pk).update(new_agents_per_hour=10)
    forget_keys()
    assert sent(rotated, "c")[0] == 200


def test_over_the_cap_says_when_to_retry(new_key: MakeKey) -> None:
    _, raw = new_key(new_agents_per_hour=0)
    answer = caller(raw)("POST", "heartbeat", BEAT)
    assert answer.status_code == 429
    assert 0 < int(answer["Retry-After"]) <= 3601
    assert not Agent.objects.exists()


def test_cap_counts_within_one_batch(new_key: MakeKey) -> None:
    _, raw = new_key(new_agents_per_hour=2)
    beats = [{**BEAT, "agent": name} for name in ("a", "b", "c")]
    results = caller(raw)("POST", "heartbeat/batch", {"heartbeats": beats}).json()["results"]
    assert [result.get("error", {}).get("code") for result in results] == [None, None, "rate_limited"]


# Limits that a client declares


def limit(world: World) -> int | None:
    return world.state().cost_limit


def test_held_client_cannot_raise_its_limit(world: World) -> None:
    world.beat(0, cost_limit_usd=1, cost_usd=2)
    assert world.beat(1, cost_limit_usd=50).hold
    assert limit(world) == 1_000_000


def test_held_client_may_lower_its_limit(world: World) -> None:
    world.beat(0, cost_limit_usd=1, cost_usd=2)
    world.beat(1, cost_limit_usd=0.5)
    assert limit(world) == 500_000


def test_client_raises_its_limit_before_the_hold(world: World) -> None:
    world.beat(0, cost_limit_usd=1, cost_usd=0.9)
    assert not world.beat(1, cost_limit_usd=5, cost_usd=1).hold
    assert limit(world) == 5_000_000


def test_raised_limit_counts_on_the_next_day(world: World) -> None:
    world.beat(0, cost_limit_usd=1, cost_usd=2)
    world.look(1)
    world.beat(86_400, cost_limit_usd=50)
    world.look(86_401)
    assert not world.beat(86_402, cost_limit_usd=50, cost_usd=2).hold


@pytest.mark.parametrize("declared", [2, 1_000])
def test_persons_limit_caps_the_clients(world: World, declared: float) -> None:
    world.beat(0)
    Agent.objects.update(daily_budget_usd=1)
    assert world.beat(1, cost_limit_usd=declared, cost_usd=1.5).hold
    assert world.beat(2, cost_limit_usd=declared).hold
