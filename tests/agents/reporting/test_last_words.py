"""What an agent said and did last, and how it ended: on its incident's page and in the text to copy."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client

from agents.incidents import actions
from agents.reporting import last_words
from teams.models import User
from tests.agents.admin.test_truth import read
from tests.agents.conftest import T0, World

pytestmark = pytest.mark.django_db
DAY = 86_400
WATCHED: dict[str, Any] = {"restart_type": "docker", "restart_target": "bot"}
KILLED: dict[str, Any] = {
    **WATCHED,
    "status": "error",
    "message": "Not responding: Docker says exited (code 137, out of memory)",
    "evidence": {"Status": "exited", "ExitCode": 137, "OOMKilled": True},
}
WORK: dict[str, Any] = {
    "progress": True,
    "message": "Reading page 7",
    "tool_call_log": [{"name": "fetch", "args": "p=7", "ok": False}],
}


def page(world: World, browser: Client, at: float) -> str:
    (incident,) = world.incidents()
    with world.clock(at):
        body = browser.get(f"/admin/agents/incident/{incident.pk}/change/").content.decode()
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


@pytest.fixture
def browser(viewer: User, client_of: Callable[[User], Client]) -> Client:
    return client_of(viewer)


def test_page_shows_what_a_killed_agent_did_last(world: World, browser: Client) -> None:
    world.beat(0, **WORK)
    world.beat(20, **KILLED)
    world.look(21)
    text = page(world, browser, 60)
    assert "Exit reason out of memory, exit code 137 (SIGKILL)" in text
    assert "Last message Reading page 7 1 min ago" in text
    assert "Last tool call fetch p=7 failed" in text
    copied = text.partition("Copy as text")[2]
    for line in ("Exit reason: out of memory", "Last message: Reading page 7", "Last tool call: fetch p=7, failed"):
        assert line in copied


def test_crash_gives_the_exit_reason(world: World, browser: Client) -> None:
    world.beat(0, **WORK)
    world.beat(5, status="error", message="CRASH: KeyError: 'title'")
    world.look(6)
    text = page(world, browser, 60)
    assert "Exit reason KeyError: 'title' Last message Reading page 7" in text


def test_runner_adds_the_exit_code_of_a_crash(world: World) -> None:
    world.beat(0, **WATCHED)
    world.beat(5, status="error", message="CRASH: KeyError: 'title'")
    world.look(6)
    world.beat(7, **KILLED)
    world.look(8)
    (incident,) = world.incidents()
    ended = last_words.exit_reason(incident, incident.signals.all())
    assert ended == "KeyError: 'title', out of memory, exit code 137 (SIGKILL)"


def test_call_in_progress_is_shown(world: World, browser: Client) -> None:
    world.beat(0, interval=30, progress=True, doing={"tool": "search", "since": T0.isoformat()})
    world.watch(1, 100)
    assert "During tool call search started" in page(world, browser, 100)


def test_later_words_do_not_replace_the_last(world: World, browser: Client) -> None:
    world.beat(0, interval=30, **WORK)
    world.watch(1, 100)
    world.beat(101, message="Started again", progress=True)
    world.look(102)
    text = page(world, browser, 103)
    assert "Last message Reading page 7" in text
    assert "Started again" not in text


def test_runners_beats_do_not_hide_the_agents(world: World, browser: Client) -> None:
    world.beat(0, interval=600, progress_timeout=600, **WORK)
    for at in range(10, 600, 10):
        world.beat(at, **WATCHED, progress=False)
    world.watch(601, 1_300)
    assert "Last message Reading page 7" in page(world, browser, 1_300)


def test_words_of_a_stalled_agent_are_found(world: World, browser: Client) -> None:
    """Long before it stalled for good, and followed by heartbeats that only say that it lives."""
    world.beat(0, interval=10, progress_timeout=2 * DAY, **WORK)
    for at in range(2 * DAY - 900, 2 * DAY, 10):
        world.beat(at, progress=False)
    world.look(2 * DAY + 1)
    assert world.kinds() == ["stalled"]
    text = page(world, browser, 2 * DAY + 2)
    assert "Last message Reading page 7" in text
    assert "Last tool call fetch p=7 failed" in text


def test_agents_page_knows_its_last_activity(world: World, browser: Client) -> None:
    """Not "only heartbeats so far" of an agent that called a tool five minutes ago."""
    world.beat(0, interval=10, tool_call_log=WORK["tool_call_log"])
    for at in range(10, 300, 10):
        world.beat(at, progress=False)
    world.look(300)
    path = f"/admin/agents/agent/{world.agent().pk}/change/"
    with world.clock(301):
        text = read(browser, path)
    assert "Last call: fetch" in text
    assert "Only heartbeats so far" not in text


def test_words_of_a_monthly_agent_are_found(world: World, browser: Client) -> None:
    world.beat(0, interval=30 * DAY, **WORK)
    world.look(61 * DAY)
    assert "Last message Reading page 7" in page(world, browser, 61 * DAY)


def test_agent_that_works_on_shows_its_newest_words(world: World, browser: Client) -> None:
    world.beat(0, cost_limit_usd=1, cost_usd=2, message="Spending")
    world.look(1)
    world.beat(30, message="Still spending")
    assert "Last message Still spending" in page(world, browser, 40)
    (incident,) = world.incidents()
    actions.resolve(incident=incident, actor="ann@example.com", now=T0 + timedelta(seconds=50))
    world.beat(60, message="Done")
    assert "Last message Still spending" in page(world, browser, 70)


def test_shared_incident_shows_nobodys_words(world: World, browser: Client) -> None:
    for name in ("bot", "bot-2", "bot-3"):
        world.beat(0, name, interval=30, source="1/10.0.0.1", message=f"I am {name}")
    world.watch(1, 100)
    assert "Last message" not in page(world, browser, 100)


def test_last_lines_of_the_log_stay_on_the_page(world: World, browser: Client) -> None:
    world.beat(0, **WORK)
    world.beat(20, **KILLED, custom_data='{"last_lines": "Loading model\\npassword=hunter2222\\nKilled"}')
    world.look(21)
    for at in (50, 80):
        world.beat(at, **KILLED)
        world.look(at + 1)
    text = page(world, browser, 90)
    assert "Last lines of its log" in text
    assert "Loading model password=[hidden] Killed" in text


def test_log_of_an_earlier_failure_is_forgotten(world: World) -> None:
    world.beat(0, **KILLED, custom_data='{"last_lines": "first"}')
    world.look(1)
    world.beat(30, **WATCHED)
    world.look(31)
    world.beat(60, **KILLED)
    world.look(61)
    assert "last_lines" not in world.incidents()[-1].signals.latest("pk").evidence
