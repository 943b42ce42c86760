"""Agents behind one proxy: the host that they name counts, not the address that they share."""

from __future__ import annotations

from typing import Any

import pytest

from agents.ingest.hosts import source_on_host
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
        # A container's id says nothing about the machine.
        ({}, "0123456789ab-1-0a1b2c", SOURCE),
        ({"host": "x" * 200}, "", "3/" + "x" * 78),
    ],
)
def test_source_is_the_named_host(labels: dict[str, str], instance: str, source: str) -> None:
    assert source_on_host(SOURCE, labels, instance) == source


def named(host: str, n: int, by: str) -> dict[str, Any]:
    return {"labels": {"host": host}} if by == "label" else {"instance": f"{host}-{n}00-abc"}


@pytest.mark.django_db
@pytest.mark.parametrize("by", ["label", "instance"])
def test_dead_host_behind_a_proxy_is_one_incident(world: World, by: str) -> None:
    """Nine agents with one address; the four on host A stop."""
    set_plan(team=world.project.team, plan="pro", actor="test")
    for second in range(0, 20, 2):
        for n in range(9):
            host = "hostA" if n < 4 else "hostB"
            if host == "hostB" or second < 10:
                world.beat(second, f"bot-{n}", interval=2, seq=second, **named(host, n, by))
    world.look(20)
    (incident,) = world.incidents()
    assert "hostA" in incident.reason
    assert sorted(incident.signals.values_list("agent__name", flat=True)) == [f"bot-{n}" for n in range(4)]
