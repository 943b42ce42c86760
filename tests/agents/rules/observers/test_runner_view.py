"""A runner's view: its evidence, its probe, and a runner that cannot inspect its target."""

from __future__ import annotations

import json
from datetime import UTC, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from agents.domain.wire.decoding import decode
from agents.models import Heartbeat, Status
from agents.reporting import formatting
from agents.rules.facts import BeatSeen, Facts, RunnerView
from agents.rules.observers import runner_view
from tests.agents.conftest import T0, World
from tests.agents.rules.conftest import quiet_facts

WATCHED: dict[str, Any] = {"restart_type": "systemd", "restart_target": "bot.service"}
HUNG = {"ActiveState": "active", "Result": "watchdog", "NRestarts": 3}
BLIND: dict[str, Any] = {**WATCHED, "status": "warning", "message": "State not known: systemctl does not answer"}
DOWN: dict[str, Any] = {**WATCHED, "status": "error", "message": "Not responding: systemd says failed"}


def evidence_of(evidence: Any) -> Any:
    return decode(json.dumps({"agent": "bot", "evidence": evidence}).encode()).evidence


def test_evidence_is_stored_with_the_heartbeat(world: World) -> None:
    seen = {"Result": "watchdog", "NRestarts": 3, "load": 0.5, "OOMKilled": True, "Error": None}
    world.beat(0, **WATCHED, evidence=seen)
    assert (Heartbeat.objects.get().content or {})["evidence"] == seen


def test_long_evidence_is_cut() -> None:
    assert evidence_of({f"name{n}": n for n in range(30)}) == {f"name{n}": n for n in range(20)}
    assert evidence_of({"x" * 99: 1, "x": "y" * 999}) == {"x": "y" * 300}
    assert evidence_of({}) is None


@pytest.mark.parametrize(
    ("evidence", "kept"),
    [
        ([], None),
        ("text", None),
        ({"a": []}, {"a": "[]"}),
        ({"a": {"b": 1}}, {"a": '{"b": 1}'}),
        ({"a": "nul\0"}, {"a": "nul\ufffd"}),
    ],
)
def test_nested_evidence_becomes_text(evidence: Any, kept: Any) -> None:
    assert evidence_of(evidence) == kept


def test_huge_numbers_do_not_break_the_server(world: World) -> None:
    world.beat(0, **WATCHED, evidence={"big": 10**30, "small": -(10**30)})
    assert Heartbeat.objects.count() == 1


def test_stall_reason_includes_the_runners_view(world: World) -> None:
    world.beat(0, progress=True, progress_timeout=60)
    for at in range(30, 121, 30):
        world.beat(at, progress=False)
        world.beat(at + 1, **WATCHED, evidence=HUNG)
        world.look(at + 2)
    (incident,) = world.incidents()
    assert incident.reason == "No progress for 2 minutes; systemd: result watchdog, restarted 3 times"
    details = formatting.explained("stalled", incident.signals.get().evidence, UTC).details
    shown = {fact.label: fact.text for fact in details}
    assert (shown["Result"], shown["NRestarts"]) == ("watchdog", "3")


@pytest.mark.parametrize(("kind", "beats"), [("error", DOWN), ("missed_heartbeat", WATCHED)])
def test_errors_and_silence_include_the_runners_view(world: World, kind: str, beats: dict[str, Any]) -> None:
    world.beat(0, **beats, evidence=HUNG)
    world.watch(1, 125 if kind == "missed_heartbeat" else 2)
    (incident,) = world.incidents()
    assert incident.kind == kind
    assert incident.signals.get(kind=kind).evidence["runner"] == HUNG


def test_no_evidence_adds_nothing(world: World) -> None:
    world.beat(0, **DOWN)
    world.look(1)
    assert "runner" not in world.incidents()[0].signals.get().evidence


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        ({}, ""),
        ({"Result": "success", "NRestarts": 0, "Health": "healthy", "OOMKilled": None, "MainPID": 7}, ""),
        ({"Result": "exit-code", "ExecMainStatus": 3, "NRestarts": 1}, "result exit-code, exit code 3, restarted once"),
        (
            {"OOMKilled": True, "ExitCode": 137, "RestartCount": 4},
            "out of memory, exit code 137 (SIGKILL), restarted 4 times",
        ),
        ({"Result": "signal", "ExecMainStatus": 9}, "result signal, signal 9 (SIGKILL)"),
        ({"ExitCode": -15}, "signal 15 (SIGTERM)"),
        ({"lastState.reason": "OOMKilled", "lastState.exitCode": 137}, "out of memory, exit code 137 (SIGKILL)"),
        ({"last_exit_code": 78}, "exit code 78"),
        ({"ExitCode": "never"}, "exit code never"),
        ({"Health": "unhealthy"}, "health unhealthy"),
    ],
)
def test_summary_mentions_only_the_unusual(facts: Facts, evidence: dict[str, Any], said: str) -> None:
    object.__setattr__(facts, "runner_view", RunnerView(evidence=evidence))
    assert runner_view.summary(facts) == (f"; docker: {said}" if said else "")


@pytest.fixture
def facts() -> Any:
    return quiet_facts(T0, SimpleNamespace(restart_type="docker"))


# The probe


def test_probe_resets_the_progress_deadline(world: World) -> None:
    world.beat(0, **WATCHED, progress=True, progress_timeout=60)
    world.beat(30, **WATCHED, progress=True)
    assert world.state().last_progress_at == T0 + timedelta(seconds=30)
    for at in range(60, 181, 30):
        world.beat(at, **WATCHED, progress=False)
        world.look(at + 1)
    assert world.kinds() == ["stalled"]
    world.beat(200, **WATCHED, progress=True)
    world.look(201)
    assert world.kinds() == []


def test_age_of_the_probes_progress_counts(world: World) -> None:
    world.beat(100, **WATCHED, progress=False, progress_age=40, progress_timeout=60)
    assert world.state().last_progress_at == T0 + timedelta(seconds=60)


def test_runner_message_is_no_progress(world: World) -> None:
    world.beat(0, progress=True, progress_timeout=60)
    for at in range(30, 121, 30):
        world.beat(at, progress=False)
        world.beat(at, **WATCHED, message=f"look {at}")
        world.look(at + 1)
    assert world.kinds() == ["stalled"]


def test_probe_does_not_end_a_wait(world: World) -> None:
    until = (T0 + timedelta(seconds=900)).isoformat()
    world.beat(0, progress=True, waiting={"for": "approval", "until": until})
    world.beat(1, **WATCHED, progress=True)
    assert world.state().waiting_for == "approval"


def test_runner_beside_the_sdk_is_no_new_process(world: World) -> None:
    world.beat(0, instance="sdk-1", seq=1)
    world.beat(1, **WATCHED, instance="runner-1", seq=1)
    world.beat(2, instance="sdk-1", seq=2)
    assert world.state().instance == "sdk-1"
    assert [beat.content.get("note") for beat in Heartbeat.objects.order_by("id")] == ["started", None, None]


# A blind runner


def test_blind_runner_opens_no_incident(world: World) -> None:
    world.beat(0, **WATCHED)
    for at in range(30, 600, 30):
        world.beat(at, **BLIND)
        world.look(at + 1)
    assert world.incidents() == []
    assert world.state().status == Status.WARNING
    world.beat(600, **WATCHED)
    world.look(601)
    assert world.state().status == Status.OK


def test_blind_runner_clears_no_error(world: World) -> None:
    world.beat(0, **DOWN)
    world.look(1)
    for at in range(30, 200, 30):
        world.beat(at, **BLIND)
        world.look(at + 1)
    assert (world.kinds(), world.state().status, world.events()) == (["error"], Status.DOWN, ["opened"])
    world.beat(200, **WATCHED)
    world.look(201)
    assert world.events() == ["opened", "resolved"]


def test_blind_runner_does_not_revive_a_stopped_agent(world: World) -> None:
    world.beat(0, status="shutdown")
    world.beat(30, **BLIND)
    world.watch(31, 300)
    assert (world.incidents(), world.state().status) == ([], Status.STOPPED)


def test_stall_mentions_a_blind_runner(world: World) -> None:
    world.beat(0, **WATCHED, progress=True, progress_timeout=60)
    for at in range(30, 121, 30):
        world.beat(at, **BLIND)
        world.look(at + 1)
    assert "the runner cannot inspect it (State not known: systemctl does not answer)" in world.incidents()[0].reason


def test_blind_message_is_dropped_on_recovery() -> None:
    beats = [BeatSeen(T0, "warning", "no socket", note="blind"), BeatSeen(T0, "ok", evidence={"Result": "success"})]
    assert runner_view.read({}, beats[:1]) == {"blind": "no socket"}
    assert runner_view.read({}, beats) == {"evidence": {"Result": "success"}}
