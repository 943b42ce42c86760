"""Agents over the API: what is shown, what can be set, what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from django.utils import timezone

from agents.ingest.registration import NewAgent, create_agent, create_agents
from agents.models import Agent, AgentName, AgentState, Heartbeat, Incident, IncidentEvent, Outage, Runner
from agents.storage.purge import clear_away
from teams.models import AuditEntry, Project
from tests.agents.api.conftest import Call

pytestmark = pytest.mark.django_db


def test_status_lists_the_projects_agents(as_agent: Call, agent: Agent) -> None:
    now = timezone.now()
    AgentState.objects.update(day=now.date(), tokens_today=500, cost_today=1_250_000)
    page = as_agent("GET", "status").json()
    assert (page["count"], page["next"], page["previous"]) == (1, None, None)
    shown = page["results"][0]
    assert (shown["id"], shown["name"], shown["status"]) == (agent.pk, "research-agent", "ok")
    assert (shown["interval"], shown["tokens_today"], shown["cost_today_usd"]) == (60.0, 500, 1.25)
    assert shown["alive_deadline"] > shown["last_heartbeat_at"]
    assert shown["last_progress_at"] is shown["progress_deadline"] is shown["open_incident"] is None


def test_priced_reported_and_unpriced_are_separate(as_full: Call, agent: Agent) -> None:
    today = timezone.now().date()
    AgentState.objects.update(
        day=today, cost_today=1_250_000, priced_today=1_000_000, unpriced={"house": 700}, hold=True,
        month=today.replace(day=1), cost_month=3_000_000, priced_month=2_500_000, unpriced_month=900,
        run_cost=250_000, run_priced=250_000, cost_total=9_000_000, priced_total=5_000_000, unpriced_total=5000,
    )  # fmt: skip
    status = as_full("GET", "status").json()["results"][0]
    assert (status["priced_today_usd"], status["reported_today_usd"], status["unpriced_tokens_today"]) == (1, 0.25, 700)
    assert status["hold"] is True
    assert as_full("GET", f"agents/{agent.pk}").json()["spend"] == {
        "today": {"cost_usd": 1.25, "priced_usd": 1.0, "reported_usd": 0.25, "unpriced_tokens": 700},
        "month": {"cost_usd": 3.0, "priced_usd": 2.5, "reported_usd": 0.5, "unpriced_tokens": 900},
        "run": {"cost_usd": 0.25, "priced_usd": 0.25, "reported_usd": 0.0, "unpriced_tokens": 0},
        "ever": {"cost_usd": 9.0, "priced_usd": 5.0, "reported_usd": 4.0, "unpriced_tokens": 5000},
        "unpriced_models": {"house": 700},
    }


def test_yesterdays_spend_is_not_todays(as_agent: Call, agent: Agent) -> None:
    AgentState.objects.update(day=timezone.now().date() - timedelta(days=1), tokens_today=500, cost_today=1_250_000)
    shown = as_agent("GET", "status").json()["results"][0]
    assert (shown["tokens_today"], shown["cost_today_usd"]) == (0, 0)


def test_status_names_the_open_incident(as_agent: Call, agent: Agent, incident: Incident) -> None:
    shown = as_agent("GET", "status").json()["results"][0]
    assert shown["open_incident"]["id"] == incident.pk
    assert shown["open_incident"]["url"].endswith(f"/incident/{incident.pk}/change/")


@pytest.mark.parametrize("path", ["status", "agents"])
def test_query_count_does_not_grow_with_agents(
    as_reader: Call, agent: Agent, project: Project, path: str, django_assert_max_num_queries: Any
) -> None:
    made = Agent.objects.bulk_create(Agent(project=project, name=f"agent-{n:04}") for n in range(999))
    AgentState.objects.bulk_create(AgentState(agent=one) for one in made)
    AgentName.objects.bulk_create(AgentName(project=project, name=one.name, agent=one) for one in made)
    as_reader("GET", "incidents")
    with django_assert_max_num_queries(5):
        page = as_reader("GET", f"{path}?limit=1000").json()
    assert len(page["results"]) == page["count"] == 1000


def test_lists_are_paginated(as_agent: Call, agent: Agent, project: Project) -> None:
    create_agent(project=project, name="second", now=timezone.now())
    page = as_agent("GET", "status?limit=1&offset=1").json()
    assert [shown["name"] for shown in page["results"]] == ["second"]
    assert page["count"] == 2
    assert "offset" not in page["previous"]
    assert page["next"] is None


@pytest.mark.parametrize("name", ["research-agent", "research-agent.service"])
def test_agent_is_found_by_name_or_alias(as_full: Call, agent: Agent, name: str) -> None:
    AgentName.objects.create(project=agent.project, name="research-agent.service", agent=agent)
    assert [found["id"] for found in as_full("GET", f"agents?name={name}").json()["results"]] == [agent.pk]
    assert as_full("GET", "agents?name=other").json()["count"] == 0


def test_name_with_nul_is_refused(as_full: Call, agent: Agent) -> None:
    assert as_full("GET", "agents?name=a%00b").status_code == 422


SETTINGS: dict[str, Any] = {
    "interval": 30.0,
    "grace": 5.0,
    "progress_timeout": 600.0,
    "daily_budget_usd": 25.5,
    "run_budget_usd": 3.25,
    "daily_token_limit": 1_000_000,
    "labels": {"env": "prod"},
    "kind": "job",
    "restart_policy": "auto",
    "restart_type": "docker",
    "restart_target": "research",
    "unsafe_to_repeat": True,
    "description": "Answers support mail",
    "owner": "Support tools, #support",
    "runbook_url": "https://wiki.example.com/runbooks/support",
    "rules": {"loop": {"off": True}, "token_spike": {"factor": 2.5}},
    "aliases": ["research-agent.service"],
}


def test_settings_are_saved_and_returned(as_full: Call, agent: Agent) -> None:
    answer = as_full("PATCH", f"agents/{agent.pk}", {**SETTINGS, "name": "renamed", "mood": 1})
    shown = as_full("GET", f"agents/{agent.pk}").json()
    assert answer.status_code == 200
    assert {name: shown[name] for name in SETTINGS} == SETTINGS
    assert shown == answer.json()
    assert shown["name"] == "research-agent"


def test_null_resets_a_setting(as_full: Call, agent: Agent) -> None:
    as_full("PATCH", f"agents/{agent.pk}", {"grace": 30, "interval": 10})
    as_full("PATCH", f"agents/{agent.pk}", {"grace": None})
    agent.refresh_from_db()
    assert (agent.grace, agent.interval) == (None, 10)


def test_change_is_audited_and_reviewed(as_full: Call, agent: Agent) -> None:
    before = timezone.now()
    as_full("PATCH", f"agents/{agent.pk}", {"grace": 30, "daily_budget_usd": 2})
    entry = AuditEntry.objects.get(action="agent.changed")
    assert entry.actor.startswith("key:cv_")
    assert entry.data == {"grace": {"from": None, "to": 30.0}, "daily_budget_usd": {"from": None, "to": "2.000000"}}
    assert AgentState.objects.get().check_at >= before  # type: ignore[operator]


def test_unchanged_settings_are_not_audited(as_full: Call, agent: Agent) -> None:
    as_full("PATCH", f"agents/{agent.pk}", {"grace": None, "labels": {}, "aliases": []})
    assert not AuditEntry.objects.filter(action__startswith="agent.").exists()


WRONG: list[tuple[str, Any]] = [
    ("interval", 0.5),
    ("interval", 0),
    ("interval", -1),
    ("interval", "30"),
    ("interval", "nan"),
    ("interval", True),
    ("interval", 1e300),
    ("interval", [30]),
    ("grace", 4.9),
    ("progress_timeout", 4),
    ("daily_budget_usd", -1),
    ("daily_budget_usd", "NaN"),
    ("daily_budget_usd", 1e12),
    ("run_budget_usd", -0.01),
    ("daily_token_limit", -1),
    ("daily_token_limit", 10**30),
    ("daily_token_limit", 1.5),
    ("labels", ["a"]),
    ("labels", {"a": {"b": "c"}}),
    ("labels", {"a": "x" * 201}),
    ("labels", {"": "x"}),
    ("labels", {"a\0": "x"}),
    ("labels", {"a": "x\0"}),
    ("labels", {str(n): "x" for n in range(51)}),
    ("kind", "robot"),
    ("aliases", "a"),
    ("aliases", [""]),
    ("aliases", ["a" * 201]),
    ("aliases", ["a\0"]),
    ("restart_policy", "sometimes"),
    ("restart_type", "ssh"),
    ("restart_target", "a" * 301),
    ("rules", []),
    ("rules", {"loop": 5}),
    ("rules", {"loop": {"calls": "many"}}),
    ("rules", {"loop": {"calls": 10**400}}),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_invalid_value_names_its_field(as_full: Call, agent: Agent, field: str, value: Any) -> None:
    before = as_full("GET", f"agents/{agent.pk}").json()
    answer = as_full("PATCH", f"agents/{agent.pk}", {"labels": {"b": "c"}, field: value})
    assert answer.status_code == 422
    assert list(answer.json()["error"]["fields"]) == [field]
    assert as_full("GET", f"agents/{agent.pk}").json() == before


def test_number_with_5000_digits_is_refused(as_full: Call, agent: Agent) -> None:
    for field in ("interval", "daily_budget_usd", "daily_token_limit"):
        body = b'{"%s": %s}' % (field.encode(), b"9" * 5000)
        assert as_full("PATCH", f"agents/{agent.pk}", body).status_code in (400, 422)


def test_incomplete_restart_target_is_refused(as_full: Call, agent: Agent) -> None:
    answer = as_full("PATCH", f"agents/{agent.pk}", {"restart_type": "docker"})
    assert list(answer.json()["error"]["fields"]) == ["restart_target"]
    assert Agent.objects.get().restart_type == ""


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"5"])
def test_body_must_be_an_object(as_full: Call, agent: Agent, body: bytes) -> None:
    assert as_full("PATCH", f"agents/{agent.pk}", body).status_code == 422


def test_alias_reports_as_the_same_agent(as_full: Call, agent: Agent) -> None:
    as_full("PATCH", f"agents/{agent.pk}", {"aliases": ["research-agent.service"]})
    answer = as_full("POST", "heartbeat", {"agent": "research-agent.service", "status": "ok"})
    assert answer.json()["agent_id"] == agent.pk
    assert Agent.objects.count() == 1


def test_other_agents_name_is_no_alias(as_full: Call, agent: Agent, project: Project) -> None:
    create_agent(project=project, name="other", now=timezone.now())
    answer = as_full("PATCH", f"agents/{agent.pk}", {"aliases": ["free", "other"], "grace": 77})
    assert answer.status_code == 409
    assert "Delete the agent other first" in answer.json()["error"]["message"]
    assert Agent.objects.get(pk=agent.pk).grace is None
    assert not AgentName.objects.filter(name="free").exists()


def test_other_agents_alias_is_no_alias(as_full: Call, agent: Agent, project: Project) -> None:
    other = create_agent(project=project, name="other", now=timezone.now())
    as_full("PATCH", f"agents/{other.pk}", {"aliases": ["shared"]})
    answer = as_full("PATCH", f"agents/{agent.pk}", {"aliases": ["shared"]})
    assert answer.status_code == 409
    assert "alias of the agent other" in answer.json()["error"]["message"]


def test_omitted_aliases_are_removed(as_full: Call, agent: Agent) -> None:
    as_full("PATCH", f"agents/{agent.pk}", {"aliases": ["a", "b", "research-agent"]})
    shown = as_full("PATCH", f"agents/{agent.pk}", {"aliases": ["b"]}).json()
    assert shown["aliases"] == ["b"]
    assert set(AgentName.objects.values_list("name", flat=True)) == {"research-agent", "b"}


def test_deletion_frees_names_and_plan_limit(as_full: Call, agent: Agent, project: Project) -> None:
    for name in ("b", "c"):
        create_agent(project=project, name=name, now=timezone.now())
    assert as_full("POST", "heartbeat", {"agent": "d", "status": "ok"}).status_code == 403
    assert as_full("DELETE", f"agents/{agent.pk}").status_code == 204
    assert as_full("GET", f"agents/{agent.pk}").status_code == 404
    assert not AgentName.objects.filter(name="research-agent").exists()
    assert as_full("POST", "heartbeat", {"agent": "d", "status": "ok"}).status_code == 200
    assert AuditEntry.objects.get(action="agent.deleted").target == "research-agent"


def test_agent_with_related_rows_can_be_deleted(as_full: Call, agent: Agent, incident: Incident) -> None:
    now = timezone.now()
    Heartbeat.objects.create(agent=agent, day=now.date(), received_at=now, status="ok")
    IncidentEvent.objects.create(incident=incident, kind="opened", text="x")
    assert as_full("DELETE", f"agents/{agent.pk}").status_code == 204
    assert clear_away()
    left = [model.objects.count() for model in (Agent, AgentState, AgentName, Heartbeat, Incident, IncidentEvent)]
    assert left == [0] * 6


def test_strict_mode_rejects_unknown_agents(as_full: Call, project: Project) -> None:
    Project.objects.filter(pk=project.pk).update(strict=True)
    beat = {"agent": "nightly-report", "status": "ok"}
    assert as_full("POST", "heartbeat", beat).json()["error"]["code"] == "unknown_agent"
    made = as_full("POST", "agents", {"name": "nightly-report", "kind": "job"})
    assert (made.status_code, made.json()["kind"], made.json()["status"]) == (201, "job", "new")
    assert as_full("POST", "heartbeat", beat).json()["agent_id"] == made.json()["id"]
    assert AuditEntry.objects.get(action="agent.created").target == "nightly-report"


def test_agent_name_must_be_new(as_full: Call, agent: Agent) -> None:
    answer = as_full("POST", "agents", {"name": "research-agent"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "name_taken")
    assert Agent.objects.count() == 1


@pytest.mark.parametrize("name", [None, "", "a" * 201, "a\0"])
def test_new_agent_needs_a_name(as_full: Call, name: Any) -> None:
    assert as_full("POST", "agents", {"name": name}).status_code == 422
    assert not Agent.objects.exists()


def test_agent_over_the_plan_is_not_created(as_full: Call) -> None:
    answers = [as_full("POST", "agents", {"name": name}).status_code for name in "abcd"]
    assert answers == [201, 201, 201, 403]


def test_pause_and_resume(as_full: Call, agent: Agent) -> None:
    before = timezone.now()
    assert as_full("POST", f"agents/{agent.pk}/pause").json()["paused_at"]
    as_full("POST", f"agents/{agent.pk}/pause")
    assert AgentState.objects.get().check_at >= before  # type: ignore[operator]
    assert as_full("POST", f"agents/{agent.pk}/resume").json()["paused_at"] is None
    actions = AuditEntry.objects.filter(action__startswith="agent.").order_by("id").values_list("action", flat=True)
    assert list(actions) == ["agent.paused", "agent.resumed"]


@pytest.mark.parametrize("action", ["restart", "stop"])
def test_command_is_accepted_and_fetched(as_full: Call, as_agent: Call, agent: Agent, action: str) -> None:
    target = {"restart_type": "systemd", "restart_target": "research-agent.service"}
    as_agent("GET", "commands")
    as_agent("POST", "heartbeat", {"agent": "research-agent", "status": "ok", **target})
    answer = as_full("POST", f"agents/{agent.pk}/{action}", {"reason": "stuck"})
    assert answer.status_code == 202
    assert (answer.json()["action"], answer.json()["state"], answer.json()["reason"]) == (action, "pending", "stuck")
    seen = {"id": answer.json()["id"], "action": action, "type": "systemd", "target": "research-agent.service"}
    more = {
        "agent": "research-agent",
        "names": ["research-agent"],
        "origin": "person",
        "reason": "stuck",
        "evidence_at": None,
    }
    [item] = as_agent("GET", "commands").json()
    assert 290 < item.pop("expires_in") <= 300
    assert item == {**seen, **more}


@pytest.mark.parametrize("action", ["restart", "stop"])
def test_command_without_runner_explains_why(as_full: Call, agent: Agent, action: str) -> None:
    answer = as_full("POST", f"agents/{agent.pk}/{action}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "no_target")
    assert not Runner.objects.exists()


def test_heartbeats_are_newest_first_within_plan(as_full: Call, agent: Agent) -> None:
    now = timezone.now()
    for age, message in ((8, "too old"), (6, "old"), (0, "new")):
        at = now - timedelta(days=age)
        Heartbeat.objects.create(
            agent=agent, day=at.date(), received_at=at, status="ok", cost=1500, content={"message": message}
        )
    page = as_full("GET", f"agents/{agent.pk}/heartbeats").json()
    assert [beat["content"]["message"] for beat in page["results"]] == ["new", "old"]
    assert (page["count"], page["results"][0]["cost_usd"]) == (2, 0.0015)


def test_timeline_mixes_events_and_outages(as_full: Call, agent: Agent, incident: Incident) -> None:
    start = timezone.now()
    minute = timedelta(minutes=1)
    for at, text in ((start, "opened"), (start + 2 * minute, "acknowledged")):
        IncidentEvent.objects.create(incident=incident, kind="note", text=text, at=at)
    Outage.objects.create(part="detector", started_at=start, ended_at=start + minute)
    Outage.objects.create(part="detector", started_at=start - 9 * minute, ended_at=start - 8 * minute)
    page = as_full("GET", f"agents/{agent.pk}/timeline").json()
    assert [entry["kind"] for entry in page["results"]] == ["note", "outage", "note"]
    assert page["results"][0] == page["results"][0] | {"text": "acknowledged", "incident": incident.pk}
    second = as_full("GET", f"agents/{agent.pk}/timeline?limit=1&offset=1").json()
    assert (second["count"], [entry["kind"] for entry in second["results"]]) == (3, ["outage"])


@pytest.mark.parametrize("path", ["agents/99999999999999999999999", "incidents/99999999999999999999999"])
def test_id_too_large_for_the_database_is_404(as_full: Call, path: str) -> None:
    assert as_full("GET", path).status_code == 404


def test_huge_offset_is_an_empty_page(as_full: Call, agent: Agent) -> None:
    assert as_full("GET", f"agents?limit=5&offset={10**30}").json()["results"] == []


def test_rate_limit_of_management_calls(as_full: Call, agent: Agent) -> None:
    answers = [as_full("GET", "agents") for _ in range(402)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert 1 <= int(refused[-1]["Retry-After"]) <= 60


def test_nested_errors_are_sentences(as_full: Call, agent: Agent) -> None:
    answer = as_full("PATCH", f"agents/{agent.pk}", {"labels": {"env": "x\0"}, "rules": {"cost": 5}})
    fields = answer.json()["error"]["fields"]
    assert fields["labels"] == "Null characters are not allowed."
    assert "ErrorDetail" not in answer.content.decode()


def test_agents_are_addressed_by_name(as_full: Call, as_stranger: Call, agent: Agent) -> None:
    shown = as_full("GET", "agents/by-name/research-agent").json()
    assert shown["id"] == agent.pk
    assert as_full("PATCH", "agents/by-name/research-agent", {"aliases": ["a/b/health", "a/b"]}).status_code == 200
    assert as_full("GET", "agents/by-name/a/b").json()["id"] == agent.pk
    assert as_full("POST", "agents/by-name/a/b/pause").json()["status"] == "paused"
    assert as_full("POST", "agents/by-name/a/b/release").status_code == 200
    assert as_full("GET", "agents/by-name/other").status_code == 404
    assert as_full("GET", "agents/by-name/a%00b").status_code == 404
    assert as_stranger("GET", "agents/by-name/research-agent").status_code == 404


ODD_NAMES = [
    "a b",
    "a/b",
    "health",
    "by-name",
    "1",
    "v1.2",
    "..a",
    "突撃",
    "a?b&c=d",
    "a%20b",
    "a+b",
    "a#b",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_addresses(as_full: Call, project: Project, name: str) -> None:
    (odd,) = create_agents([NewAgent(project, name)], timezone.now())
    path = f"agents/by-name/{quote(name)}"
    assert as_full("GET", path).json()["id"] == odd.pk
    assert as_full("GET", f"{path}/health").json() == {"name": name, "status": "new"}
    for listed in ("status", "agents"):
        rows = as_full("GET", f"{listed}?agent={quote(name, safe='')}").json()["results"]
        assert [row["id"] for row in rows] == [odd.pk], listed
    assert as_full("GET", f"deliveries?agent={quote(name, safe='')}").json()["results"] == []


def test_probe_without_a_body_or_key(full_key: str, agent: Agent) -> None:
    client, path = Client(headers={"X-API-Key": full_key}), f"/api/v1/agents/{agent.pk}/health"
    for status, answer in (("ok", 200), ("down", 503)):
        AgentState.objects.filter(agent=agent).update(status=status)
        assert client.head(path).status_code == answer
    for method in (Client().get, Client().head):
        assert method(path).status_code == 401
    assert client.head("/api/v1/agents/by-name/nobody/health").status_code == 404


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        *((status, 200) for status in ("ok", "warning", "waiting", "new", "stopped", "paused")),
        ("down", 503),
        ("stalled", 503),
    ],
)
def test_health_is_a_probe(as_agent: Call, as_stranger: Call, agent: Agent, status: str, answer: int) -> None:
    AgentState.objects.filter(agent=agent).update(status=status)
    if status == "paused":
        Agent.objects.update(paused_at=timezone.now())
    for path in (f"agents/{agent.pk}/health", "agents/by-name/research-agent/health", "agents/research-agent/health"):
        probed = as_agent("GET", path)
        assert (probed.status_code, probed.json()) == (answer, {"name": "research-agent", "status": status})
        assert as_stranger("GET", path).status_code == 404
