"""Progress in files, container output and the journal, and behaviour common to all probes."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clevagent.runner import probes
from clevagent.runner.backends.base import Evidence, Probe
from clevagent.runner.errors import ConfigError
from clevagent.runner.target import make_target

from tests.client_sdk.runner.fake_api import FakeApi
from tests.client_sdk.runner.probing import BOT, probe, problem

# Log files


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "bot.log"
    path.write_text("one\n")
    return path


def test_first_look_is_not_progress(log: Path) -> None:
    assert probes.make({"log": str(log)}, BOT).look(1000) == (
        None,
        {"probe": f"log {log}", "probe_value": "4 bytes"},
    )


def test_growing_log_is_progress(log: Path) -> None:
    watched = probe(log=str(log))
    with log.open("a") as file:
        file.write("two\n")
    assert watched.look(1010) == (True, {"probe": f"log {log}", "probe_value": "8 bytes"})


def test_still_log_reports_how_long(log: Path) -> None:
    watched = probe(log=str(log))
    assert watched.look(1010)[1]["probe_still_for"] == 10
    moved, shown = watched.look(1030)
    assert (moved, shown["probe_still_for"]) == (False, 30)


def test_touching_a_log_is_not_progress(log: Path) -> None:
    watched = probe(log=str(log))
    os.utime(log, (5, 5))
    assert watched.look(1010)[0] is False


def test_rotated_log_continues_in_the_new_file(log: Path) -> None:
    watched = probe(log=str(log))
    log.rename(log.with_suffix(".1"))
    log.touch()
    assert watched.look(1010)[0] is False
    log.write_text("x")
    assert watched.look(1020)[0] is True


def test_truncated_log_continues_from_its_new_end(log: Path) -> None:
    watched = probe(log=str(log))
    os.truncate(log, 0)
    assert watched.look(1010)[0] is False
    log.write_text("x")
    assert watched.look(1020)[0] is True


def test_log_truncated_and_rewritten_is_progress(log: Path) -> None:
    watched = probe(log=str(log))
    os.truncate(log, 0)
    log.write_text("x")
    assert watched.look(1010)[0] is True


def test_missing_log_is_no_evidence_until_it_returns(log: Path) -> None:
    watched = probe(log=str(log))
    log.rename(log.with_suffix(".1"))
    assert problem(watched) == f"there is no file {log}, or no permission to see it"
    log.write_text("new\n" * 5)
    assert watched.look(1020)[0] is True


def test_pattern_covers_every_file(log: Path) -> None:
    watched = probe(log=str(log.with_name("*.log")))
    assert watched.look(1010)[0] is False
    log.with_name("2026-11-24.log").write_text("a new day\n")
    assert watched.look(1020)[0] is True


def test_folder_is_not_a_log(tmp_path: Path) -> None:
    assert problem(probes.make({"log": str(tmp_path)}, BOT))


# Container output


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeApi]:
    with FakeApi(tmp_path / "d.sock") as api:
        yield api


def writes(engine: FakeApi, second: int, text: bytes = b"done") -> None:
    """Give the container's last line this timestamp."""
    line = b"2026-11-24T00:00:%02d.5Z %s\n" % (second, text)
    engine.answers["GET", "/containers/bot/logs"] = (200, b"\1\0\0\0\0\0\0" + bytes([len(line)]) + line)


def container(engine: FakeApi) -> Probe:
    return probes.make({"output": True}, make_target("docker", "bot", options={"socket": str(engine.socket)}))


def test_repeated_container_output_is_progress(engine: FakeApi) -> None:
    writes(engine, 1)
    watched = container(engine)
    assert watched.look(1000) == (None, {"probe": "output of bot", "probe_value": "2026-11-24T00:00:01.5Z"})
    assert watched.look(1010)[0] is False
    writes(engine, 2)
    assert watched.look(1020)[0] is True
    assert engine.asked[-1].query == {"stdout": "1", "stderr": "1", "timestamps": "1", "tail": "1"}


def test_first_line_ever_is_progress(engine: FakeApi) -> None:
    engine.answers["GET", "/containers/bot/logs"] = (200, b"")
    watched = container(engine)
    assert watched.look(1000)[1]["probe_value"] == "nothing"
    writes(engine, 1)
    assert watched.look(1010)[0] is True


def test_unlogged_container_output_is_no_evidence(engine: FakeApi) -> None:
    said = "configured logging driver does not support reading"
    engine.answers["GET", "/containers/bot/logs"] = (501, {"message": said})
    assert problem(container(engine)) == f"Docker answered: {said}"


# The journal


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a `journalctl` that writes its arguments to `asked` and prints `entry` and `error`."""
    program = tmp_path / "journalctl"
    program.write_text(
        '#!/bin/sh\ncd "$(dirname "$0")"; echo "$@" > asked; cat entry; cat error >&2; exit $(cat code)\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    for name, text in {"entry": "", "error": "", "code": "0"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


def says(journal: Path, cursor: str) -> None:
    (journal / "entry").write_text(json.dumps({"__CURSOR": cursor, "_PID": "7"}) + "\n")


def test_new_journal_entry_is_progress(journal: Path) -> None:
    says(journal, "s=1;i=1")
    watched = probe(journal="bot")
    assert watched.look(1010)[0] is False
    says(journal, "s=1;i=2")
    assert watched.look(1020)[0] is True


def test_only_entries_of_unit_processes_count(journal: Path) -> None:
    probe(journal="bot")
    asked = (journal / "asked").read_text().split()
    assert asked[-1] == "_SYSTEMD_UNIT=bot.service"
    assert "-u" not in asked
    probe(journal="bot.service", user=True)
    assert (journal / "asked").read_text().split()[-2:] == ["--user", "_SYSTEMD_USER_UNIT=bot.service"]


def test_first_journal_entry_ever_is_progress(journal: Path) -> None:
    watched = probe(journal="bot")
    assert watched.look(1010)[0] is False
    says(journal, "s=1;i=1")
    assert watched.look(1020)[0] is True


def test_unreadable_journal_is_an_error(journal: Path) -> None:
    (journal / "error").write_text("Hint: You are currently not seeing messages from other users and the system.\n")
    assert "group systemd-journal" in problem(probes.make({"journal": "bot"}, BOT))


def test_failing_journal_is_no_evidence(journal: Path) -> None:
    (journal / "error").write_text("Failed to open the journal\n")
    (journal / "code").write_text("1")
    assert problem(probes.make({"journal": "bot"}, BOT)) == "Failed to open the journal"


# All probes


def test_hanging_look_does_not_block_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    source = probes.Source("disk", lambda timeout: probes.Reading(over.wait(30), ""), lambda before, now: False)
    watched = probes.Watcher(source, timeout=0.1)
    assert problem(watched) == "no answer within 0.1 s"
    assert problem(watched) == "the previous look has not returned yet"
    over.set()


def test_bug_in_a_probe_is_reported(log: Path) -> None:
    def fails(_: float) -> probes.Reading:
        raise RuntimeError("out of ideas")

    watched = probes.Watcher(probes.Source("x", fails, lambda before, now: False), timeout=1)
    assert problem(watched) == "RuntimeError: out of ideas"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "a probe needs exactly one of log, output, journal, http, command"),
        ({"output": True}, "probe.output must be true, and requires a target of type docker"),
        ({"log": "/a", "http": "http://a"}, "a probe needs exactly one of"),
        ({"log": "bot.log"}, "probe.log must be an absolute path"),
        ({"log": ["/a"]}, "probe.log must be a string"),
        ({"log": "/a", "field": "x"}, "probe.field is unknown; a log probe accepts log, timeout"),
        ({"journal": "--flush"}, "probe.journal must be a unit"),
        ({"journal": "bot", "user": "me"}, "user must be true or false"),
        ({"http": "ftp://a/b"}, "probe.http must be an address"),
        ({"http": "http://name:password@a/b"}, "without user and password"),
        ({"http": "http://localhost:99999/b"}, "probe.http must be an address"),
        ({"http": "http://a/b", "field": 3}, "probe.http accepts a field"),
        ({"http": "http://a/b", "idle": 3}, "requires a field"),
        ({"command": "llen jobs"}, "probe.command must be a list of words"),
        ({"command": []}, "probe.command must be a list of words"),
        ({"command": ["a"], "direction": "sideways"}, "one of any, up, down"),
        ({"log": "/a", "timeout": 60}, "probe.timeout must be at most 10 seconds"),
        ({"log": "/a", "timeout": True}, "probe.timeout must be"),
    ],
)
def test_invalid_probe_explains_the_fix(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        probes.make(settings, BOT)
    assert str(refused.value).startswith("systemd:bot.service: ")


def test_evidence_is_short_and_plain(log: Path) -> None:
    shown: Evidence = probe(log=str(log)).look(1010)[1]
    assert {type(value) for value in shown.values()} <= {str, int, float, bool}
