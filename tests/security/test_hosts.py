"""Agents behind one proxy: the host that they name counts, not the address that they share."""

from __future__ import annotations

from typing import Any

import pytest

from agents.ingest.hosts import source_on_host
from agents.models import Agent
from billing.services import set_plan
from tests.agents.conftest import World

SOURCE = "3/10.0.0.1"


@pytest.mark.parametrize(
    ("labels", "instance", "source"),
    [
        ({"host": "hostA"}, "", "3/hostA"),
        ({"hostname": "hostA"}, "hostB-100-abc", "3/hostA"),
        ({}, "hostA-100-abc", "3/hostA"),
        ({}, "web-eu-1-4711-0a1b2c", "3/web-eu-1"),
        ({"env": "prod"}, "some-uuid", SOURCE),
        ({"host": ""}, "", SOURCE),
        ({"host.name": "hostA"}, "", "3/hostA"),
        ({"node": "hostA"}, "", "3/hostA"),
        ({}, "hostA:4711", "3/hostA"),
        ({}, "celery@hostA", "3/hostA"),
        ({}, "worker@hostA:4711", "3/hostA"),
        # A container's id says nothing about the machine, an id of a process neither.
        ({}, "0123456789ab-1-0a1b2c", SOURCE),
        ({}, "celery@0123456789ab", SOURCE),
        ({}, "0123456789ab:7", SOURCE),
        ({}, "550e8400-e29b-4123-8716-446655440000", SOURCE),
        ({}, "fe80::1", SOURCE),
        ({"host": "x" * 200}, "", "3/" + "x" * 78),
    ],
)
def test_source_is_the_named_host(labels: dict[str, str], instance: str, source: str) -> None:
    assert source_on_host(SOURCE, labels, {}, instance) == source


def test_label_of_a_person_comes_before_the_instance() -> None:
    assert source_on_host(SOURCE, {}, {"host": "rack-7"}, "hostA-100-abc") == "3/rack-7"
    assert source_on_host(SOURCE, {"host": "hostA"}, {"host": "rack-7"}, "") == "3/hostA"


def named(host: str, n: int, by: str) -> dict[str, Any]:
    """As the SDK says it. In a container, only a label of the agent does, or a person's."""
    inside = {"instance": f"0123456789a{n}-1-abc"}
    said: dict[str, dict[str, Any]] = {
        "label": {"labels": {"host": host}, **inside},
        "instance": {"instance": f"{host}-{n}00-abc"},
        "person": inside,
    }
    return said[by]


@pytest.mark.django_db
@pytest.mark.parametrize("by", ["label", "instance", "person"])
def test_dead_host_behind_a_proxy_is_one_incident(world: World, by: str) -> None:
    """Nine agents with one address; the four on host A stop."""
    set_plan(team=world.project.team, plan="pro", actor="test")
    if by == "person":
        for n in range(9):
            world.beat(0, f"bot-{n}", interval=2, **named("", n, by))
            Agent.objects.filter(name=f"bot-{n}").update(labels={"host": "hostA" if n < 4 else "hostB"})
    for second in range(0, 20, 2):
        for n in range(9):
            host = "hostA" if n < 4 else "hostB"
            if host == "hostB" or second < 10:
                world.beat(second, f"bot-{n}", interval=2, seq=second, **named(host, n, by))
    world.look(20)
    (incident,) = world.incidents()
    assert "hostA" in incident.reason
    assert sorted(incident.signals.values_list("agent__name", flat=True)) == [f"bot-{n}" for n in range(4)]
