"""`clevagent ping`, `start` and `fail` against a real server: what arrives, and what is said when it does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from clevagent.jobs import cli

from agents.ingest import committer
from agents.models import Heartbeat
from teams.models import Project

LONG: Final = "x" * 5_000
RUN: Final = "6f1c3f5e-0000-4000-8000-000000000001"

pytestmark = pytest.mark.live


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("CLEVAGENT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def endpoint(transactional_db: None, api_key: str, live_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("CLEVAGENT_API_KEY", api_key)
    monkeypatch.setenv("CLEVAGENT_ENDPOINT", live_server.url)
    yield live_server.url
    committer.close()


def test_events_arrive(endpoint: str, project: Project) -> None:
    for arguments in (
        ["start", "--rid", RUN],
        ["ping", "42 tables", "--rid", RUN],
        ["fail", "disk full", "--exit-status", "3"],
        ["ping", "--exit-status", "0"],
        ["ping", "--exit-status", "3"],
    ):
        assert cli.main([*arguments, "--agent", "etl"]) == 0
    rows = Heartbeat.objects.filter(agent__project=project).order_by("id")
    received = [(row.status, row.content["job"], row.content.get("message")) for row in rows if row.content]
    assert received == [
        ("ok", {"event": "start", "rid": RUN}, None),
        ("ok", {"event": "success", "rid": RUN}, "42 tables"),
        ("error", {"event": "fail", "exit_status": 3}, "disk full"),
        ("ok", {"event": "success", "exit_status": 0}, None),
        ("error", {"event": "fail", "exit_status": 3}, None),
    ]


@pytest.mark.parametrize("command", ["ping", "start", "fail"])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"CLEVAGENT_API_KEY": "cv_wrong"}, "the server refused it: 401: This is not an API key"),
        ({"CLEVAGENT_API_KEY": ""}, "no API key; set CLEVAGENT_API_KEY"),
        ({"CLEVAGENT_ENDPOINT": "ftp://x"}, "it must begin with http:// or https:// and a host"),
        ({"CLEVAGENT_ENDPOINT": "http://127.0.0.1:9"}, "http://127.0.0.1:9 does not answer: "),
    ],
)
def test_what_is_not_taken_is_said(
    endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    settings: dict[str, str],
    said: str,
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert cli.main([command, "--agent", "etl"]) == 1
    printed = capsys.readouterr()
    assert (printed.out, said in printed.err, printed.err.count("\n")) == ("", True, 1)


def test_event_left_out_is_not_taken(endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ping", "--agent", "etl", "--rid", LONG]) == 1
    assert "the server left it out: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ping"], "name the agent with --agent or CLEVAGENT_AGENT"),
        (["start", "--agent", "\u200b"], "name the agent with --agent or CLEVAGENT_AGENT"),
        (["fail", "--agent", "etl", "--exit-status", "abc"], "invalid int value: 'abc'"),
        (["start", "--agent", "etl", "--exit-status", "0"], "unrecognized arguments: --exit-status"),
        (["ping", "--agent", "etl", "two", "messages"], "unrecognized arguments: messages"),
        (["pong", "--agent", "etl"], "invalid choice: 'pong'"),
    ],
)
def test_wrong_arguments_end_with_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: Any = cli.main(arguments)
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert said in capsys.readouterr().err
