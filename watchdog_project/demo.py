"""`bin/run --demo`: six agents, one per scenario, each in its own process and with the real client, and a runner.

`python -m watchdog_project.demo NAME` runs one of them, or the runner, which starts the agent that hangs, so that a
restart can be tried. Their work is simulated and fast enough to show every scenario
within 90 seconds; they report what a real agent with that problem would.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from watchdog_project.process_supervisor import Child, die_with_parent, watch_parent

TEAM, PROJECT = "Demo", "Demo agents"
CLIENT: Final = Path(__file__).resolve().parent.parent / "client_sdk"
# Heartbeat interval in seconds.
INTERVAL: Final = 5
RUNNER: Final = "runner"
# Seconds that the runner gives the agent to sign off; it has 1.5 s itself.
SIGN_OFF: Final = 1.0
PAPERS: Final = ("attention", "retrieval", "planning", "memory", "tools", "safety")


def healthy(watched: Any) -> None:
    """Searches, reads and writes, with new results each time."""
    for page, topic in enumerate(itertools.cycle(PAPERS), 1):
        with watched.iteration():
            call(watched, "search_papers", {"topic": topic, "page": page}, result=f"{topic} {page}")
            watched.log_usage(model="gpt-4.1-mini", provider="openai", input_tokens=1_800, output_tokens=240)
            call(watched, "write_note", {"paper": f"{topic}-{page}"}, result=f"note {page}")
        watched.ping(message=f"Read paper {page} on {topic}")
        time.sleep(2)


def crashed(watched: Any) -> None:
    """Dies from an unhandled exception."""
    answer = {"results": [{"title": "Planning"}, {}]}
    for paper in answer["results"]:
        watched.ping(message="Sorting papers")
        time.sleep(4)
        paper["title"].upper()


def hung(watched: Any) -> None:
    """Waits forever for a response, while its client keeps sending heartbeats. A restart cures it."""
    is_restarted = has_run_before()
    for url in work(watched, sys.maxsize if is_restarted else 3, "fetch_page", "https://papers.example/{}"):
        watched.ping(message=f"Fetched {url}")
        time.sleep(2 if is_restarted else 0)
    watched.ping(message="Fetching https://papers.example/4")
    threading.Event().wait()


def looping(watched: Any) -> None:
    """Repeats the same tool call with the same result, and pays for it."""
    while True:
        with watched.iteration():
            watched.log_usage(model="gpt-4.1", provider="openai", input_tokens=4_000, output_tokens=90)
            call(watched, "search_docs", {"query": "release notes"}, result="nothing found")
        time.sleep(2)


def overspending(watched: Any) -> None:
    """Sends its whole history with every request, until the client is told that the budget is exceeded."""
    for turn in itertools.count(1):
        with watched.iteration():
            tokens = 8_000 * turn
            watched.log_usage(model="claude-opus-4-1", provider="anthropic", input_tokens=tokens, output_tokens=900)
            call(watched, "summarize", {"chapter": turn}, result=f"summary {turn}")
        if watched.should_stop():
            watched.waiting("today's budget is spent")
            threading.Event().wait()
        time.sleep(2)


def waiting(watched: Any) -> None:
    """Waits for a person, and reports that."""
    for page in work(watched, 2, "draft_reply", "ticket {}"):
        watched.ping(message=f"Drafted {page}")
    with watched.waiting("approval of a refund of $120", until=8 * 3600):
        threading.Event().wait()


SCENARIOS: Final[dict[str, Callable[[Any], None]]] = {
    run.__name__: run for run in (healthy, crashed, hung, looping, overspending, waiting)
}
# Settings their teams would have made. The progress timeout is short, so that the hang shows within the demo.
SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "hung": {"progress_timeout": 20},
    "overspending": {"cost_limit_usd": 2.0, "on_cost_exceeded": "flag"},
}


# The runner starts these.
RESTARTABLE: Final = ("hung",)


def work(watched: Any, times: int, tool: str, what: str) -> Iterator[str]:
    """Run `times` iterations, each with one tool call on a different subject."""
    for number in range(1, times + 1):
        subject = what.format(number)
        with watched.iteration():
            call(watched, tool, {"what": subject}, result=f"{subject}, done")
        yield subject


def call(watched: Any, tool: str, args: dict[str, Any], result: str) -> None:
    with watched.tool(tool, args) as tool_call:
        time.sleep(0.3)
        tool_call.result = result


# What `bin/run` starts.
PROCESSES: Final = (*(name for name in SCENARIOS if name not in RESTARTABLE), RUNNER)


def agents(address: str, key: str) -> list[Child]:
    """All of them, not started yet. They are not supervised: a demo agent that exits stays down."""
    return [Child(name, argv(name, address), env={"CLEVAGENT_API_KEY": key}) for name in PROCESSES]


def argv(name: str, address: str) -> list[str]:
    return [sys.executable, "-m", "watchdog_project.demo", name, address]


def folder() -> Path:
    """Where the runner keeps its state, below the data directory."""
    return Path(os.environ["DATA_DIR"]) / "demo-runner"


def has_run_before() -> bool:
    """Whether the runner started this agent once already; remembers that it did."""
    mark = folder() / "started"
    before = mark.exists()
    mark.touch()
    return before


def run_runner(address: str) -> None:
    """Watch and start what can be restarted, with the real runner, until SIGTERM."""
    from clevagent.runner import backends, config, journal, supervise, target

    key, state = os.environ["CLEVAGENT_API_KEY"], folder() / "state.json"
    state.parent.mkdir(mode=0o700, exist_ok=True)
    (state.parent / "started").unlink(missing_ok=True)
    backends.set_state_folder(state.parent)
    journal.begin("ERROR", key)
    targets = [
        target.make_target(
            "process", agent_name(name), options={"command": argv(name, address), "env": {"CLEVAGENT_API_KEY": key}}
        )
        for name in RESTARTABLE
    ]
    settings = config.Settings(
        config.checked_targets(targets), key, address, INTERVAL, name=agent_name(RUNNER), state=str(state)
    )
    supervisor = supervise.Supervisor(settings, supervise.open_store(settings))
    signal.signal(signal.SIGTERM, lambda *_: supervisor.request_end())
    try:
        supervisor.begin()
        supervisor.wait()
    finally:
        for each in targets:
            backends.of(each.type).stop(each, SIGN_OFF + 1)
        supervisor.end()
        supervisor.store.close()


def agent_name(scenario: str) -> str:
    return f"demo-{scenario}"


def wait_until_ready(address: str) -> None:
    url = urlsplit(address)
    while True:
        connection = HTTPConnection(url.hostname or "", url.port, timeout=3)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.3)


def main(scenario: str, address: str) -> None:
    """Run one agent, or the runner. The key is in the environment variable CLEVAGENT_API_KEY."""
    if scenario in RESTARTABLE:
        watch_parent()  # the kernel would end it with the thread of the runner that started it
    else:
        die_with_parent()
    sys.path.insert(0, str(CLIENT))
    import clevagent

    logging.getLogger("clevagent").addHandler(logging.NullHandler())
    wait_until_ready(address)
    if scenario == RUNNER:
        run_runner(address)
        return
    clevagent.init(
        agent=agent_name(scenario),
        endpoint=address,
        interval=INTERVAL,
        handle_signals=True,
        labels={"demo": scenario},
        **SETTINGS.get(scenario, {}),
    )
    SCENARIOS[scenario](clevagent)


if __name__ == "__main__":
    main(*sys.argv[1:])
