"""The published clients with a complete installation: real processes, mail server and webhook receiver.

`clevagent-runner` 0.1.0 comes from the package index; `tests/published_sdk.py` replaces the SDK 0.4.0, which is not
there. Each story runs once, and the tests check what it observed.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.flows.installation import PATIENCE, ROOT, Installation, slowdown, wait_until
from tests.live import Arrival, Browser, Inbox, Program, create_project, database

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("published_clients")]
OWNER = "owner@example.com"
RUNNER = str(Path(sys.executable).with_name("clevagent-runner"))
SDK_AGENT = "research-agent"
# Seconds from the report to the message, as the product promises.
NOTIFIED_WITHIN = 5.0


@dataclass
class Site:
    """The installation with its owner signed in, an agent key and a full-access key."""

    running: Installation
    inbox: Inbox
    browser: Browser
    agent_key: str
    full_key: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.running.port}"

    def call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"X-API-Key": self.full_key, "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        status, answer = self.running.request(urllib.request.Request(f"{self.url}/api/v1/{path}", data, headers))
        assert 200 <= status < 300, answer
        return answer

    def agent(self, name: str) -> Any:
        """The agent in `/status`; None while it is unknown."""
        return next((agent for agent in self.call("status")["results"] if agent["name"] == name), None)

    def status(self, name: str) -> str | None:
        found = self.agent(name)
        return found["status"] if found else None

    def beats(self, name: str) -> list[Any]:
        """The agent's heartbeats, oldest first."""
        found: list[Any] = self.call(f"agents/{self.agent(name)['id']}/heartbeats")["results"]
        return found[::-1]

    def kinds(self, name: str) -> list[str]:
        """The kinds of the agent's incidents, oldest first."""
        results = self.call(f"incidents?agent={self.agent(name)['id']}")["results"]
        return [incident["kind"] for incident in results][::-1]

    def until_status(self, name: str, status: str) -> None:
        wait_until(lambda: self.status(name) == status, f"{name} is {status}")

    def until_notified(self, name: str, type_: str, times: int = 1) -> Arrival:
        """Wait for so many notifications of this type by webhook, and as many mails; the last webhook."""

        def both() -> bool:
            types = self.inbox.types_of(name)
            return types.count(type_) == times and len(self.inbox.mails_of(name)) == len(types)

        wait_until(both, f"{type_} of {name}: {self.inbox.types_of(name)}")
        return [hook for hook in self.inbox.hooks_of(name) if hook.body["type"] == type_][-1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        inbox = stack.enter_context(Inbox())
        env: dict[str, Any] = {
            **stack.enter_context(database()),
            "ALLOW_PRIVATE_TARGETS": "true",
            "SIGNUP_OPEN": "false",
            "EMAIL_URL": inbox.mail_url,
        }
        running = Installation(tmp_path_factory.mktemp("published") / "data", **env)
        stack.callback(running.stop)
        running.start()
        made = create_project(running, OWNER, "full")
        agent_key = create_project(running, OWNER, "agent")["api_key"]
        yield Site(running, inbox, signed_in(made["sign_in_url"]), agent_key, made["api_key"])


def signed_in(link: str) -> Browser:
    browser = Browser()
    browser.get(link)
    browser.post(link)
    return browser


@pytest.fixture(scope="module")
def channels(site: Site) -> None:
    hook = {"url": site.inbox.receiver.url("/hook")}
    site.call("channels", {"kind": "email", "name": "Mail", "config": {"to": ["ops@example.com"]}})
    site.inbox.secret = site.call("channels", {"kind": "webhook", "name": "Hook", "config": hook})["secret"]


def seconds_since(report: Any, arrival: Arrival) -> float:
    return arrival.at - datetime.fromisoformat(report["received_at"]).timestamp()


# The runner


class Target:
    """A process with a PID file, as a runner watches it."""

    def __init__(self, pid_file: Path) -> None:
        self.pid_file = pid_file
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(["sleep", "600"])
        fresh = self.pid_file.with_name("fresh")
        fresh.write_text(str(self.process.pid))
        fresh.replace(self.pid_file)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class RunnerStory:
    name: str
    seen: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def runner_story(site: Site, channels: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunnerStory]:
    """Two runners with the same key on one machine, each with its own target."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("target")
        other, target = Target(folder / "other.pid"), Target(folder / "agent.pid")
        for watched in (other, target):
            stack.callback(watched.kill)
            stack.callback(start_runner(site, watched.pid_file).end)
        story = RunnerStory(str(target.pid_file))
        live_with_runner(site, story, target)
        story.seen["other"] = (other.process.poll(), site.status(str(other.pid_file)))
        yield story


def start_runner(site: Site, pid_file: Path) -> Program:
    watch = ["--watch", f"process:{pid_file}", "--heartbeat-interval", "1"]
    options = ["--endpoint", site.url, "--api-key", site.agent_key, *watch]
    return Program(pid_file.with_suffix(".log"), RUNNER, "start", *options)


def live_with_runner(site: Site, story: RunnerStory, target: Target) -> None:
    """The target is up, killed, up again, and stopped by the owner."""
    name, seen = story.name, story.seen
    site.until_status(name, "ok")
    target.kill()
    seen["opened"] = site.until_notified(name, "incident.opened")
    seen["down"] = site.status(name)
    seen["report"] = next(beat for beat in site.beats(name) if beat["status"] == "error")
    target.start()
    seen["resolved"] = site.until_notified(name, "incident.resolved")
    good = [beat for beat in site.beats(name) if beat["id"] > seen["report"]["id"] and beat["status"] == "ok"]
    seen["back"] = good[0]
    site.until_status(name, "ok")
    page = f"{site.url}/admin/agents/agent/{site.agent(name)['id']}"
    seen["asked"] = site.browser.get(f"{page}/press/stop/")
    site.browser.post(f"{page}/press/stop/", reason="enough")
    # Each runner polls every 10 s, and the other one may be handed the command first.
    seen["exit"] = target.process.wait(PATIENCE)
    wait_until(lambda: "Stopped process:" in site.browser.get(f"{page}/change/"), "the result is on the page")
    beats = len(site.beats(name))
    wait_until(lambda: len(site.beats(name)) >= beats + 3, "the runner keeps reporting that it is down")
    seen["after"] = site.status(name)
    seen["page"] = site.browser.get(f"{page}/change/")
    seen["audit"] = site.browser.get(f"{site.url}/admin/teams/auditentry/")


def test_kill_is_notified_within_five_seconds(runner_story: RunnerStory, site: Site) -> None:
    opened, report = runner_story.seen["opened"], runner_story.seen["report"]
    took = seconds_since(report, opened)
    print(f"\nrunner: from the error beat to the webhook {took:.3f} s")
    assert 0 < took < NOTIFIED_WITHIN * slowdown()
    assert report["content"]["message"] == f"{runner_story.name} is not responding"
    incident = opened.body["data"]["incident"]
    assert (incident["kind"], incident["severity"]) == ("error", "critical")
    assert runner_story.seen["down"] == "down"


def test_recovery_from_kill_is_notified(runner_story: RunnerStory, site: Site) -> None:
    resolved = runner_story.seen["resolved"]
    took = seconds_since(runner_story.seen["back"], resolved)
    print(f"\nrunner: from the good beat to the webhook {took:.3f} s")
    assert 0 < took < NOTIFIED_WITHIN * slowdown()
    assert resolved.body["data"]["incident"]["id"] == runner_story.seen["opened"].body["data"]["incident"]["id"]
    first, second = site.inbox.mails_of(runner_story.name)
    assert first == "is not running"
    assert second.startswith("recovered after")


def test_stop_requested_in_admin_is_carried_out(runner_story: RunnerStory) -> None:
    assert "The runner will stop" in runner_story.seen["asked"]
    assert runner_story.seen["exit"] == -signal.SIGTERM
    assert f"Stopped process:{runner_story.name}" in runner_story.seen["page"]
    assert "completed" in runner_story.seen["page"]


def test_stop_is_audited(runner_story: RunnerStory) -> None:
    for step in ("requested a stop of", "received a stop for", "completed a stop of"):
        assert step in runner_story.seen["audit"]
    assert OWNER in runner_story.seen["audit"]


def test_stop_affects_only_its_own_target(runner_story: RunnerStory) -> None:
    assert runner_story.seen["other"] == (None, "ok")


def test_stop_raises_no_alarm(runner_story: RunnerStory, site: Site) -> None:
    assert runner_story.seen["after"] == "stopped"
    assert site.kinds(runner_story.name) == ["error"]
    assert site.inbox.types_of(runner_story.name) == ["incident.opened", "incident.resolved"]


# The SDK


@dataclass
class SdkStory:
    seen: dict[str, Any] = field(default_factory=dict)
    programs: list[Program] = field(default_factory=list)


@pytest.fixture(scope="module")
def sdk_story(site: Site, channels: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SdkStory]:
    story, folder = SdkStory(), tmp_path_factory.mktemp("sdk")

    def start() -> Program:
        log = folder / f"{len(story.programs)}.log"
        options = ["--endpoint", site.url, "--api-key", site.agent_key, "--agent", SDK_AGENT, "--interval", "1"]
        story.programs.append(Program(log, sys.executable, str(ROOT / "tests" / "published_sdk.py"), *options))
        site.until_status(SDK_AGENT, "ok")
        return story.programs[-1]

    try:
        work_and_loop(site, story, start())
        stop_quietly(site, story)
        crash_and_return(site, story, start)
        yield story
    finally:
        for program in story.programs:
            program.end()


def work_and_loop(site: Site, story: SdkStory, program: Program) -> None:
    program.tell("iteration 1", "prompt Find the release notes", "cost 500 0.25", "ping page 1 done")
    program.tell("iteration 2", "cost 7 0.05", "ping page 2 done")
    wait_until(lambda: site.agent(SDK_AGENT)["tokens_today"] == 507, "both pings arrived")
    count = len(site.beats(SDK_AGENT))
    wait_until(lambda: len(site.beats(SDK_AGENT)) >= count + 3, "background beats")
    story.seen["worked"], story.seen["beats"] = site.agent(SDK_AGENT), site.beats(SDK_AGENT)
    program.tell(*["tool search_docs query=release notes"] * 6, "ping searching")
    story.seen["loop"] = site.until_notified(SDK_AGENT, "incident.opened")
    wait_until(lambda: program.lines("loop_detected"), "the warning reached it")
    count = len(site.beats(SDK_AGENT))
    wait_until(lambda: len(site.beats(SDK_AGENT)) >= count + 3, "more beats")
    program.tell(*[f"tool write_report part={number}" for number in range(8)], "ping report written")
    site.until_notified(SDK_AGENT, "incident.resolved")


def stop_quietly(site: Site, story: SdkStory) -> None:
    program = story.programs[-1]
    program.process.send_signal(signal.SIGTERM)
    site.until_status(SDK_AGENT, "stopped")
    story.seen["swallowed"] = program.is_running
    wait_until(lambda: ends(program), "a second one ends it")
    story.seen["quiet"] = (site.kinds(SDK_AGENT), site.inbox.types_of(SDK_AGENT))


def ends(program: Program) -> bool:
    """Whether SIGTERM ended it; a signal may arrive while the first one's handler still waits for the thread."""
    program.process.send_signal(signal.SIGTERM)
    return not program.is_running


def crash_and_return(site: Site, story: SdkStory, start: Any) -> None:
    program = start()
    story.seen["again"] = site.kinds(SDK_AGENT)
    program.tell("ping at work again", "crash no such page")
    story.seen["crash"] = site.until_notified(SDK_AGENT, "incident.opened", times=2)
    story.seen["exit"] = program.process.wait(PATIENCE)
    story.seen["crashed"] = next(beat for beat in site.beats(SDK_AGENT) if beat["status"] == "error")
    detector_ran_twice(site)
    story.seen["down"] = (site.status(SDK_AGENT), site.kinds(SDK_AGENT))
    start()
    story.seen["recovered"] = site.until_notified(SDK_AGENT, "incident.resolved", times=2)


def detector_ran_twice(site: Site) -> None:
    """Wait until two beats of another agent were evaluated one after the other."""
    for status in ("warning", "ok"):
        site.running.beat(site.agent_key, agent="bystander", status=status)
        site.until_status("bystander", status)


def test_spend_adds_up_and_work_is_progress(sdk_story: SdkStory) -> None:
    worked, beats = sdk_story.seen["worked"], sdk_story.seen["beats"]
    assert (worked["tokens_today"], worked["cost_today_usd"]) == (507, 0.3)
    assert [beat["progress"] for beat in beats if (beat["content"] or {}).get("message")] == [True, True]


def test_background_beats_are_no_progress(sdk_story: SdkStory) -> None:
    background = sdk_story.seen["beats"][-3:]
    assert [beat["iteration"] for beat in background] == [2, 2, 2]
    assert [beat["progress"] for beat in background] == [False] * 3


def test_loop_warning_reaches_the_program_once(sdk_story: SdkStory) -> None:
    assert sdk_story.seen["loop"].body["data"]["incident"]["kind"] == "loop"
    (line,) = sdk_story.programs[0].lines("loop_detected")
    assert "`search_docs(query=release notes)` called 6 times in a row" in line


def test_first_sigterm_is_a_silent_stop(sdk_story: SdkStory) -> None:
    assert sdk_story.seen["swallowed"]
    assert sdk_story.seen["quiet"] == (["loop"], ["incident.opened", "incident.resolved"])


def test_restart_after_stop_raises_no_alarm(sdk_story: SdkStory) -> None:
    assert sdk_story.seen["again"] == ["loop"]


def test_crash_is_notified_within_five_seconds(sdk_story: SdkStory, site: Site) -> None:
    took = seconds_since(sdk_story.seen["crashed"], sdk_story.seen["crash"])
    print(f"\nSDK: from the crash beat to the webhook {took:.3f} s")
    assert 0 < took < NOTIFIED_WITHIN * slowdown()
    assert sdk_story.seen["exit"] == 1
    assert sdk_story.seen["crash"].body["data"]["incident"]["reason"] == "Crashed: RuntimeError: no such page"
    assert sdk_story.seen["down"] == ("down", ["loop", "crash"])


def test_recovery_from_crash_is_notified(sdk_story: SdkStory, site: Site) -> None:
    crash, recovered = sdk_story.seen["crash"], sdk_story.seen["recovered"]
    assert recovered.body["data"]["incident"]["id"] == crash.body["data"]["incident"]["id"]
    assert site.inbox.types_of(SDK_AGENT) == ["incident.opened", "incident.resolved"] * 2
    assert [subject.partition(" after")[0] for subject in site.inbox.mails_of(SDK_AGENT)] == [
        "is in a loop",
        "recovered",
        "crashed",
        "recovered",
    ]
