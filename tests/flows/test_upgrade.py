"""`bin/run` on the data of the last version before the migrations were squashed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request

import psycopg
import pytest

from tests.contracts.test_migrations import FIXTURES
from tests.flows.installation import ROOT, Installation
from tests.live import Browser, database

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("upgrade")]
KEY = "cv_" + 5 * "made0up0"  # its hash is in the fixtures
LISTS = ["agent", "incident", "command", "maintenance"]
PAGES = [
    "/admin/",
    *(f"/admin/agents/{name}/" for name in LISTS),
    *(f"/admin/agents/{name}/1/change/" for name in ("agent", "incident", "maintenance")),
    "/admin/alerts/channel/",
    "/admin/alerts/channel/1/change/",
    "/admin/alerts/delivery/",
    "/admin/billing/subscription/",
    "/admin/teams/project/1/change/",
    "/admin/teams/apikey/",
    "/admin/teams/invitation/",
    "/admin/teams/membership/",
    "/admin/teams/auditentry/",
]


def load_fixture(folder: Path, env: dict[str, str]) -> None:
    if "DATABASE_URL" in env:
        with psycopg.connect(env["DATABASE_URL"]) as server:
            server.execute((FIXTURES / "efb8393_postgresql.sql").read_bytes())
        return
    file = sqlite3.connect(folder / "watchdog.sqlite3")
    file.executescript((FIXTURES / "efb8393_sqlite.sql").read_text())
    file.close()


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("upgrade") / "data"
    folder.mkdir()
    (folder / "welcomed").touch()  # the old version has greeted its operator
    with database() as env:
        load_fixture(folder, env)
        installation = Installation(folder, port=None, root=ROOT, **env)
        try:
            yield installation.start()
        finally:
            installation.stop()


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("agents", "name", "writer"),
        ("incidents", "reason", "No heartbeat for 2 min"),
        ("maintenance", "reason", "Move to another host"),
        ("channels", "name", "Pager"),
    ],
)
def test_api_lists_upgraded_rows(upgraded: Installation, path: str, field: str, value: str) -> None:
    request = Request(f"{upgraded.url}/api/v1/{path}", headers={"X-API-Key": KEY})
    status, answer = upgraded.request(request)
    assert (status, [row[field] for row in answer["results"]]) == (200, [value]), json.dumps(answer)


def test_upgraded_installation_stores_heartbeats(upgraded: Installation) -> None:
    status, answer = upgraded.beat(KEY, agent="writer")
    assert (status, answer["agent_id"]) == (200, 1)


def test_pages_show_upgraded_rows(upgraded: Installation) -> None:
    browser = Browser()
    browser.get(upgraded.sign_in_url)
    browser.post(upgraded.sign_in_url)
    assert [path for path in PAGES if "<h1" not in browser.get(f"{upgraded.url}{path}")] == []
    assert "writer" in browser.get(f"{upgraded.url}/admin/agents/agent/1/change/")
