"""The last lines of a failed target's log: from each source, without secrets, and once per failure."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clevagent.runner import last_lines
from clevagent.runner.backends import docker, process, systemd
from clevagent.runner.backends.base import Logged
from clevagent.runner.target import Target, make_target, parse
from clevagent.testing import FakeServer

from tests.client_sdk.runner.conftest import Runners
from tests.client_sdk.runner.fake_api import FakeApi
from tests.client_sdk.runner.scripted import Scripted, shown

A = parse("systemd:a.service=bot")


def lines(target: Target) -> Any:
    text = last_lines.of(target, 5)
    return json.loads(text)["last_lines"] if text else ""


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """Its first word that is no option is the number of lines."""
    return Scripted(tmp_path / "bin", "journalctl").on_path(monkeypatch)


@pytest.mark.parametrize("backend", [docker.BACKEND, process.BACKEND, systemd])
def test_backend_can_read_logs(backend: object) -> None:
    assert isinstance(backend, Logged)


def test_units_journal_is_read(journalctl: Scripted) -> None:
    journalctl.answers("20", "Reading page 7\nKeyError: 'title'\n")
    assert lines(A) == "Reading page 7\nKeyError: 'title'"
    assert journalctl.calls[-1].endswith("_SYSTEMD_UNIT=a.service")
    assert lines(parse("systemd:user/a.service"))
    assert journalctl.calls[-1].endswith("--user _SYSTEMD_USER_UNIT=a.service")


def test_unreadable_journal_is_no_problem(journalctl: Scripted) -> None:
    journalctl.answers("20", error="No journal files were opened due to insufficient permissions.", code=1)
    assert lines(A) == ""


@pytest.mark.parametrize(
    "output", [b"\1\0\0\0\0\0\0\5one\n\n"[:13] + b"\2\0\0\0\0\0\0\3two", b"one\n\ntwo"], ids=["frames", "terminal"]
)
def test_containers_output_is_read(tmp_path: Path, output: bytes) -> None:
    with FakeApi(tmp_path / "d.sock") as engine:
        engine.answers["GET", "/containers/bot/logs"] = (200, output)
        bot = make_target("docker", "bot", options={"socket": str(engine.socket)})
        assert lines(bot) == "one\n\ntwo"
        assert engine.asked[-1].query == {"stdout": "1", "stderr": "1", "tail": "20"}
        engine.answers["GET", "/containers/bot/logs"] = (403, b"refused by the proxy")
        assert lines(bot) == ""


def test_end_of_a_processes_log_is_read(tmp_path: Path) -> None:
    (tmp_path / "bot.log").write_text("\n".join(f"line {number}" for number in range(10_000)))
    bot = make_target("process", "bot", options={"command": ["true"], "log": str(tmp_path / "bot.log")})
    assert lines(bot).splitlines() == [f"line {number}" for number in range(9_980, 10_000)]
    assert lines(replace(bot, options={"command": ["true"]})) == ""
    assert lines(replace(bot, options={"command": ["true"], "log": str(tmp_path / "none.log")})) == ""


def test_secrets_stay_on_the_machine(journalctl: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "plainwords")
    journalctl.answers("20", "password=hunter2222 and plainwords, then the cause")
    assert lines(A) == "password=[hidden] and [hidden], then the cause"


def test_long_log_keeps_its_end(journalctl: Scripted) -> None:
    journalctl.answers("20", "x" * 50_000 + " the cause")
    assert len(lines(A)) == last_lines.MAX_LENGTH
    assert lines(A).endswith("the cause")


def test_other_backends_and_refusals_send_nothing(journalctl: Scripted) -> None:
    journalctl.answers("20", "text")
    assert lines(replace(A, send_log=False)) == ""
    assert lines(parse("launchd:com.example.bot")) == ""


def test_failure_is_told_once_with_its_log(
    runners: Runners, server: FakeServer, systemctl: Scripted, journalctl: Scripted
) -> None:
    journalctl.answers("20", "KeyError")
    systemctl.answers("show", shown("failed", Result="exit-code", ExecMainStatus=1))
    runners.start(A)
    server.wait_for(4)
    sent = [beat.get("custom_data", "") for beat in server.beats if beat["status"] == "error"]
    assert sent[0] == '{"last_lines": "KeyError"}'
    assert not any(sent[1:])


def test_log_of_a_running_target_is_not_read(
    runners: Runners, server: FakeServer, systemctl: Scripted, journalctl: Scripted
) -> None:
    runners.start(A)
    server.wait_for(3)
    assert journalctl.calls == []
