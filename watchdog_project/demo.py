"""`bin/run --demo`: six agents, one of each fate, each a process of its own with the real client.

`python -m watchdog_project.demo NAME` is one of them. They work on nothing, as fast as it takes to see all fates
within a minute and a half; what they report is what a real agent in that trouble reports.
"""

from __future__ import annotations

import itertools
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from watchdog_project.process_supervisor import Child, die_with_parent

TEAM, PROJECT = "Demo", "Demo agents"
CLIENT: Final = Path(__file__).resolve().parent.parent / "client_sdk"
# Each says at least so often that it is alive, in seconds.
INTERVAL: Final = 5
PAPERS: Final = ("attention", "retrieval", "planning", "memory", "tools", "safety")


def healthy(watched: Any) -> None:
    """Searches, reads, writes, and finds something new each time."""
    for page, topic in enumerate(itertools.cycle(PAPERS), 1):
        with watched.iteration():
            call(watched, "search_papers", {"topic": topic, "page": page}, result=f"{topic} {page}")
            watched.log_usage(model="gpt-4.1-mini", provider="openai", input_tokens=1_800, output_tokens=240)
            call(watched, "write_note", {"paper": f"{topic}-{page}"}, result=f"note {page}")
        watched.ping(message=f"Read paper {page} on {topic}")
        time.sleep(2)


def crashed(watched: Any) -> None:
    """Meets what nobody thought of."""
    answer = {"results": [{"title": "Planning"}, {}]}
    for paper in answer["results"]:
        watched.ping(message="Sorting papers")
        time.sleep(4)
        paper["title"].upper()


def hung(watched: Any) -> None:
    """Waits for an answer that never comes, and says every few seconds that it is alive."""
    for url in work(watched, 3, "fetch_page", "https://papers.example/{}"):
        watched.ping(message=f"Fetched {url}")
    watched.ping(message="Fetching https://papers.example/4")
    threading.Event().wait()


def looping(watched: Any) -> None:
    """Asks the same question and gets the same answer, at a price."""
    while True:
        with watched.iteration():
            watched.log_usage(model="gpt-4.1", provider="openai", input_tokens=4_000, output_tokens=90)
            call(watched, "search_docs", {"query": "release notes"}, result="nothing found")
        time.sleep(2)


def overspending(watched: Any) -> None:
    """Sends its whole history with every question, until it hears that its budget is spent."""
    for turn in itertools.count(1):
        with watched.iteration():
            tokens = 8_000 * turn
            watched.log_usage(model="claude-opus-4-1", provider="anthropic", input_tokens=tokens, output_tokens=900)
            call(watched, "summarize", {"chapter": turn}, result=f"summary {turn}")
        if watched.should_stop():
            watched.waiting("a budget: today's is spent")
            threading.Event().wait()
        time.sleep(2)


def waiting(watched: Any) -> None:
    """Has a question for a person, and says so."""
    for page in work(watched, 2, "draft_reply", "ticket {}"):
        watched.ping(message=f"Drafted {page}")
    with watched.waiting("approval of a refund of $120", until=8 * 3600):
        threading.Event().wait()


FATES: Final[dict[str, Callable[[Any], None]]] = {
    one.__name__: one for one in (healthy, crashed, hung, looping, overspending, waiting)
}
# What its people would have set. A progress timeout of 20 s is for a demo; the hang is found 20 s after it.
SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "hung": {"progress_timeout": 20},
    "overspending": {"cost_limit_usd": 2.0, "on_cost_exceeded": "flag"},
}


def work(watched: Any, times: int, tool: str, what: str) -> Iterator[str]:
    """So many turns, each with one call of a tool on something else."""
    for number in range(1, times + 1):
        subject = what.format(number)
        with watched.iteration():
            call(watched, tool, {"what": subject}, result=f"{subject}, done")
        yield subject


def call(watched: Any, tool: str, args: dict[str, Any], result: str) -> None:
    with watched.tool(tool, args) as one:
        time.sleep(0.3)
        one.result = result


def agents(address: str, key: str) -> list[Child]:
    """All six, to be started; nobody starts one again that has ended."""
    argv = [sys.executable, "-m", "watchdog_project.demo"]
    return [Child(fate, [*argv, fate, address], env={"CLEVAGENT_API_KEY": key}) for fate in FATES]


def name_of(fate: str) -> str:
    """What the agent of a fate is called on the server."""
    return f"demo-{fate}"


def wait_for(address: str) -> None:
    """Until the server answers."""
    place = urlsplit(address)
    while True:
        line = HTTPConnection(place.hostname or "", place.port, timeout=3)
        try:
            line.request("GET", "/readyz")
            if line.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            line.close()
        time.sleep(0.3)


def main(fate: str, address: str) -> None:
    """Be one of them; the key is in the environment."""
    die_with_parent()
    sys.path.insert(0, str(CLIENT))
    import clevagent

    logging.getLogger("clevagent").addHandler(logging.NullHandler())
    wait_for(address)
    clevagent.init(
        agent=name_of(fate),
        endpoint=address,
        interval=INTERVAL,
        handle_signals=True,
        labels={"demo": fate},
        **SETTINGS.get(fate, {}),
    )
    FATES[fate](clevagent)


if __name__ == "__main__":
    main(*sys.argv[1:])
