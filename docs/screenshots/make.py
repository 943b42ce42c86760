"""Makes the pictures of the pages, in light and dark: `python -m docs.screenshots.make [--seconds 900]`.

A real installation gets real heartbeats of agents in every state, for a quarter of an hour, and Chromium looks at it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.tab import SHORT, TALL, Tab, launch
from tests.flows.installation import Installation
from tests.flows.mailbox import Mailbox
from tests.live import create_project

FOLDER = Path(__file__).parent
# What ends badly begins so many seconds before the pictures.
TROUBLE = 120.0
OWNER, WORK = "owner@example.com", {"team": "Research", "project": "Production"}
Fields = dict[str, Any]
PAGES = {
    "fleet": "/admin/?clear",
    "fleet-narrowed": "/admin/?status=ok",
    "agents": "/admin/agents/agent/",
    "incidents": "/admin/agents/incident/",
    "commands": "/admin/agents/command/",
    "maintenance": "/admin/agents/maintenance/",
    "maintenance-new": "/admin/agents/maintenance/add/",
    "first-steps": "/admin/first-steps/",
    "channels": "/admin/alerts/channel/",
    "channel-new": "/admin/alerts/channel/add/",
    "who-hears-what": "/admin/alerts/channel/routes/",
    "deliveries": "/admin/alerts/delivery/",
    "teams": "/admin/teams/team/",
    "projects": "/admin/teams/project/",
    "keys": "/admin/teams/apikey/",
    "key-new": "/admin/teams/apikey/add/",
    "members": "/admin/teams/membership/",
    "invitations": "/admin/teams/invitation/",
    "invitation-new": "/admin/teams/invitation/add/",
    "plan": "/admin/billing/subscription/",
    "audit-log": "/admin/teams/auditentry/",
    "status": "/status/production/",
    "profile": "/accounts/profile/",
    "two-factor": "/accounts/2fa/",
}
# What only the operator sees.
OPERATORS_PAGES = {
    "installation": "/admin/installation/",
    "people": "/admin/teams/user/",
    "failed-sign-ins": "/admin/teams/failedsignin/",
}
# What nobody has to sign in for.
OPEN_PAGES = {"landing": "/", "sign-up": "/accounts/signup/", "sign-in": "/accounts/login/"}
# What leads to a row's page: the list, what the row says, and what its page shows.
ROWS = {
    "agent": ("/admin/agents/agent/", "research-agent", "Current activity"),
    "agent-history": ("/admin/agents/agent/", "research-agent", "Current activity"),
    "agent-spend": ("/admin/agents/agent/", "web-crawler", "Current activity"),
    "try-a-rule": ("/admin/agents/agent/", "order-support", "Current activity"),
    "incident": ("/admin/agents/incident/", "research-agent", "Timeline"),
    "incident-loop": ("/admin/agents/incident/", "order-support", "Timeline"),
    "restart": ("/admin/agents/incident/", "research-agent", "Timeline"),
    "maintenance-window": ("/admin/agents/maintenance/", "database upgrade", "Starts"),
    "channel": ("/admin/alerts/channel/", "On call", "On call"),
    "project": ("/admin/teams/project/", "Production", "Production"),
}
# Pages behind a row's page.
BEHIND = {
    "agent-history": "/change/?span=1h#history",
    "agent-spend": "/change/?span=1h#agent-charts",
    "try-a-rule": "/try/?rule=loop&hours=6&repeats=5#found",
    "restart": "/press/restart/",
}
PHONE = ("fleet", "agent", "incident", "first-steps", "channels")


@dataclass
class Actor:
    """An agent: it reports every so many seconds, from `first` to `last` of them; `says` is what, at its nth time."""

    name: str
    every: float
    says: Callable[[int], Fields]
    first: float = 0
    last: float = float("inf")
    told: int = 0

    def is_due(self, second: float) -> bool:
        return self.first + self.told * self.every <= second <= self.last

    def speak(self) -> Fields:
        self.told += 1
        return {"agent": self.name, "status": "ok", **self.says(self.told)}


def works(every: float, tokens: int, dollars: float) -> Callable[[int], Fields]:
    return lambda n: {"interval": every, "iteration_count": n, "tokens_used": tokens, "cost_usd": dollars}


def stands_still(after: float) -> Callable[[int], Fields]:
    """Alive, and from some moment on the same page over and over."""

    def says(n: int) -> Fields:
        moves = 2 * n < after
        spent = {"tokens_used": 900, "cost_usd": 0.004, "memory_mb": 180 + n % 9}
        call = [{"name": "fetch_page", "args": f"page={n}", "ms": 400 + n % 7 * 30, "ok": n % 40 != 0}] if moves else []
        page = {"message": f"reading page {n if moves else int(after / 2)}", "tool_call_log": call}
        return {"interval": 2, "progress": moves, "progress_timeout": 20, **spent, **page}

    return says


def is_up(n: int) -> Fields:
    """What a runner says of it, so that it can be restarted."""
    return {"interval": 30, "restart_type": "systemd", "restart_target": "research-agent.service"}


def loops(after: float) -> Callable[[int], Fields]:
    def says(n: int) -> Fields:
        call = {"name": "search_orders", "args": f'{{"customer": "C-{1042 + n if 5 * n < after else 1042}"}}'}
        return {"interval": 5, "tokens_used": 2_150, "cost_usd": 0.006, "tool_call_log": [call]}

    return says


def overspends(seconds: float) -> Callable[[int], Fields]:
    """Its budget is reached when nine tenths of the time are over."""
    cost = round(25 / (0.9 * seconds / 6), 3)
    return lambda n: {**works(6, 8_200, cost)(n), "cost_limit_usd": 25, "memory_mb": 240 + n % 30}


def waits(n: int) -> Fields:
    until = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    return {"interval": 10, "progress": n == 1, "waiting": {"for": "approval", "until": until}, "cost_usd": 0.04}


def cast(seconds: float) -> list[Actor]:
    """One agent of each fate, and two that simply work."""
    until = seconds - TROUBLE
    return [
        Actor("ticket-triage", 5, works(5, 1_840, 0.021)),
        Actor("summarizer", 3, works(3, 3_420, 0.012)),
        Actor("research-agent", 2, stands_still(until)),
        Actor("research-agent", 30, is_up),
        Actor("invoice-reader", 5, works(5, 960, 0.008), last=until),
        Actor("web-crawler", 6, overspends(seconds)),
        Actor("order-support", 5, loops(until)),
        Actor("mail-sorter", 30, works(30, 640, 0.004), first=(seconds - 5) % 30, last=seconds),
        Actor("publisher", 10, waits),
        Actor("nightly-report", 10, lambda n: works(10, 5_300, 0.09)(n) | {"status": "shutdown"}, last=1),
    ]


def add_channel(installation: Installation, key: str) -> None:
    body = {"kind": "email", "name": "On call", "config": {"to": ["on-call@example.com"]}}
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    url = f"{installation.url}/api/v1/channels"
    status, answer = installation.request(Request(url, json.dumps(body).encode(), headers))  # noqa: S310 - to ourselves
    if status != 201:
        raise SystemExit(answer)


def plan_maintenance(installation: Installation, key: str) -> None:
    start = datetime.now(UTC) + timedelta(days=2)
    body = {"reason": "database upgrade", "starts_at": start.isoformat(), "labels": {"env": "staging"}}
    body["ends_at"] = (start + timedelta(hours=3)).isoformat()
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    url = f"{installation.url}/api/v1/maintenance"
    status, answer = installation.request(Request(url, json.dumps(body).encode(), headers))  # noqa: S310 - to ourselves
    if status != 201:
        raise SystemExit(answer)


def publish(tab: Tab) -> None:
    """The project gets a status page, as a person gives it one."""
    page = tab.go("/admin/teams/project/")
    page.get_by_role("link", name=WORK["project"]).first.click()
    page.locator("select[name=status_page]").select_option("named")
    page.locator("input[name=status_address]").fill("production")
    page.get_by_role("button", name="Save", exact=True).click()
    tab.sees("changed successfully")


def ask_for_commands(installation: Installation, key: str) -> None:
    """As a runner does every ten seconds, so that the pages know that it is there."""
    url = f"{installation.url}/api/v1/commands"
    installation.request(Request(url, headers={"X-API-Key": key}))  # noqa: S310 - to ourselves


@contextmanager
def on_stage(installation: Installation, key: str, seconds: float) -> Iterator[None]:
    """The agents work from here on, and still do while the pictures are taken."""
    began, actors, over = time.monotonic(), cast(seconds), threading.Event()

    def play() -> None:
        for turn in itertools.count():
            if over.wait(0.2):
                return
            if turn % 50 == 0:
                ask_for_commands(installation, key)
            for actor in actors:
                if actor.is_due(time.monotonic() - began):
                    installation.beat(key, **actor.speak())

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def tab_of(
    browser: Browser, installation: Installation, scheme: Any, width: int = 1280, state: Any = None
) -> Iterator[Tab]:
    size: Any = {"width": width, "height": SHORT if width > 600 else TALL}
    context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce", storage_state=state)
    yield Tab(context.new_page(), installation.url)
    context.close()


def sign_in(tab: Tab, url: str) -> Any:
    """What a browser keeps of a person who is signed in."""
    tab.page.goto(url)
    tab.page.get_by_role("button", name="Sign in").click()
    tab.page.wait_for_url("**/admin/**")
    return tab.page.context.storage_state()


def take_pictures(browser: Browser, installation: Installation, state: Any, operator: Any) -> None:
    """Every page in light, under its name, and in dark; some on a phone."""
    for scheme, ending in (("light", ""), ("dark", "-dark")):
        with tab_of(browser, installation, scheme) as stranger:
            for name, path in OPEN_PAGES.items():
                _shoot(stranger.go(path), name + ending)
        with tab_of(browser, installation, scheme, state=state) as tab:
            for name in (*PAGES, *ROWS):
                _shoot(_open(tab, name), name + ending)
        with tab_of(browser, installation, scheme, state=operator) as tab:
            for name, path in OPERATORS_PAGES.items():
                _shoot(tab.go(path), name + ending)
        with tab_of(browser, installation, scheme, width=390, state=state) as phone:
            for name in PHONE:
                _shoot(_open(phone, name), f"{name}-phone{ending}")


def _open(tab: Tab, name: str) -> Page:
    if name in PAGES:
        return tab.go(PAGES[name])
    path, says, shows = ROWS[name]
    row = tab.go(path).get_by_role("row").filter(has_text=says).first
    row.locator(f"a[href^='{path}'][href$='/change/']").first.click()
    tab.sees(shows)
    if name in BEHIND:
        tab.go(urlsplit(tab.page.url).path.replace("/change/", BEHIND[name]))
    return tab.page


def _shoot(page: Page, name: str) -> None:
    page.wait_for_timeout(700)  # charts are drawn, fonts are there
    page.screenshot(path=FOLDER / f"{name}.png")


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder, Mailbox() as mailbox:
        installation = Installation(Path(folder) / "data", EMAIL_URL=mailbox.url).start()
        try:
            full = create_project(installation, OWNER, "full", **WORK)
            add_channel(installation, full["api_key"])
            with on_stage(installation, full["api_key"], seconds):
                time.sleep(seconds)
                plan_maintenance(installation, full["api_key"])
                with sync_playwright() as playwright:
                    browser = launch(playwright)
                    with tab_of(browser, installation, "light") as tab:
                        state = sign_in(tab, full["sign_in_url"])
                        publish(tab)
                    with tab_of(browser, installation, "light") as tab:
                        operator = sign_in(tab, installation.sign_in_url)
                    take_pictures(browser, installation, state, operator)
                    browser.close()
        finally:
            installation.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=900, help="how long the agents work before the pictures")
    main(parser.parse_args().seconds)
