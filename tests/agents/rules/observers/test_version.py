"""Deploys: a new version among a heartbeat's labels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import cycle

import pytest

from agents.rules.facts import BeatSeen
from agents.rules.observers import version
from alerts import message
from tests.agents.conftest import T0, World

NOW = datetime(2026, 11, 24, 2, 11, tzinfo=UTC)


def beats(*said: tuple[float, str]) -> list[BeatSeen]:
    """Heartbeats given as minutes after NOW and version."""
    return [BeatSeen(NOW + timedelta(minutes=minutes), "ok", version=name) for minutes, name in said]


def told(found: list[version.Version]) -> list[tuple[str, str, float]]:
    return [(one.before, one.name, (one.since - NOW).total_seconds() / 60) for one in found]


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ({"version": "1.4.3", "release": "blue"}, "1.4.3"),
        ({"release": "blue", "revision": "abc"}, "blue"),
        ({"revision": " abc "}, "abc"),
        ({"version": " ", "env": "production"}, ""),
        ({"version": "x" * 200}, "x" * version.MAX_LENGTH),
    ],
)
def test_version_comes_from_the_first_label(labels: dict[str, str], name: str) -> None:
    assert version.from_labels(labels) == name


def test_first_version_is_no_deploy() -> None:
    memory = version.read({}, beats((0, "1.4.2"), (1, ""), (2, "1.4.2"), (60, "1.4.3"), (61, "")))
    assert told(version.deploys(memory)) == [("1.4.2", "1.4.3", 60)]
    assert version.read({}, beats((0, ""))) == {}


def test_state_continues_in_the_next_review() -> None:
    memory = version.read(version.read({}, beats((0, "a"))), beats((60, "b")))
    assert version.read(memory, beats((70, ""))) == memory
    assert told(version.deploys(memory)) == [("a", "b", 60)]


def test_versions_side_by_side_are_one_deploy() -> None:
    taking_turns = zip(range(120), cycle(("new", "old")), strict=False)
    memory = version.read({}, beats((-9, "old"), (-1, "old"), *taking_turns, *((120 + n, "new") for n in range(9))))
    assert told(version.deploys(memory)) == [("old", "new", 0)]


def test_old_version_that_was_gone_is_redeployed() -> None:
    memory = version.read({}, beats((0, "a"), (60, "b"), (61, "a")))
    assert [one.name for one in version.deploys(memory)] == ["b", "a"]


def test_old_version_returns_once_the_new_one_is_gone() -> None:
    memory = version.read({}, beats(*((n, "a") for n in range(10)), (10, "b"), *((11 + n, "a") for n in range(10))))
    assert told(version.deploys(memory)) == [("a", "b", 10), ("b", "a", 13)]


def test_version_running_at_a_moment() -> None:
    memory = version.read({}, beats((0, "a"), (60, "b")))
    assert [
        one and one.name for one in (version.running(memory, NOW + timedelta(minutes=n)) for n in (-1, 0, 59, 60))
    ] == [None, "a", "a", "b"]


def test_oldest_kept_version_knows_its_predecessor() -> None:
    memory = version.read({}, beats(*((n * 10, f"1.{n}") for n in range(200))))
    found = version.deploys(memory)
    assert len(found) == version.KEPT - 1
    assert (found[0].before, found[-1].name, len(memory["seen"])) == ("1.160", "1.199", 1)


@pytest.mark.django_db
def test_message_names_a_recent_deploy(world: World) -> None:
    for at, name in ((0, "1.4.2"), (600, "1.4.3")):
        world.beat(at, labels={"version": name}, interval=60)
        world.look(at)
    world.look(1200)
    [incident] = world.incidents()
    found = message.of_event(incident.events.get(kind="opened"), incident, "msg_1")
    assert found.lines[2] == (
        f"Version 1.4.3 deployed at {T0 + timedelta(seconds=600):%H:%M}, 1 min before the incident (previously 1.4.2)"
    )
