"""Progress seen in files, in a container's output and in the journal; and what all probes have in common."""

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
from clevagent.runner.target import made

from tests.client_sdk.runner.fake_api import FakeApi
from tests.client_sdk.runner.probing import BOT, probe, problem

# A log's growth


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "bot.log"
    path.write_text("one\n")
    return path


def test_the_first_look_is_no_progress(log: Path) -> None:
    assert probes.make({"log": str(log)}, BOT).look(1000) == (
        None,
        {"probe": f"log {log}", "probe_value": "4 bytes"},
    )


def test_a_log_that_grows_is_progress(log: Path) -> None:
    watched = probe(log=str(log))
    with log.open("a") as file:
        file.write("two\n")
    assert watched.look(1010) == (True, {"probe": f"log {log}", "probe_value": "8 bytes"})


def test_a_log_that_stands_still_is_none_and_says_for_how_long(log: Path) -> None:
    watched = probe(log=str(log))
    assert watched.look(1010)[1]["probe_still_for"] == 10
    moved, shown = watched.look(1030)
    assert (moved, shown["probe_still_for"]) == (False, 30)


def test_touching_a_log_is_no_progress(log: Path) -> None:
    watched = probe(log=str(log))
    os.utime(log, (5, 5))
    assert watched.look(1010)[0] is False


def test_a_rotated_log_goes_on_in_the_new_file(log: Path) -> None:
    watched = probe(log=str(log))
    log.rename(log.with_suffix(".1"))
    log.touch()
    assert watched.look(1010)[0] is False
    log.write_text("x")
    assert watched.look(1020)[0] is True


def test_a_truncated_log_goes_on_from_its_new_end(log: Path) -> None:
    watched = probe(log=str(log))
    os.truncate(log, 0)
    assert watched.look(1010)[0] is False
    log.write_text("x")
    assert watched.look(1020)[0] is True


def test_a_log_that_was_cut_and_written_between_two_looks_is_progress(log: Path) -> None:
    watched = probe(log=str(log))
    os.truncate(log, 0)
    log.write_text("x")
    assert watched.look(1010)[0] is True


def test_a_log_that_is_not_there_tells_nothing_and_its_return_does(log: Path) -> None:
    watched = probe(log=str(log))
    log.rename(log.with_suffix(".1"))
    assert problem(watched) == f"there is no file {log}, or it may not be seen"
    log.write_text("new\n" * 5)
    assert watched.look(1020)[0] is True


def test_a_pattern_stands_for_every_file(log: Path) -> None:
    watched = probe(log=str(log.with_name("*.log")))
    assert watched.look(1010)[0] is False
    log.with_name("2026-11-24.log").write_text("a new day\n")
    assert watched.look(1020)[0] is True


def test_a_folder_is_no_log(tmp_path: Path) -> None:
    assert problem(probes.make({"log": str(tmp_path)}, BOT))


# A container's output


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeApi]:
    with FakeApi(tmp_path / "d.sock") as api:
        yield api


def writes(engine: FakeApi, second: int, text: bytes = b"done") -> None:
    """Make the container's last line be of that second, as Docker tells it."""
    line = b"2026-11-24T00:00:%02d.5Z %s\n" % (second, text)
    engine.answers["GET", "/containers/bot/logs"] = (200, b"\1\0\0\0\0\0\0" + bytes([len(line)]) + line)


def container(engine: FakeApi) -> Probe:
    return probes.make({"output": True}, made("docker", "bot", options={"socket": str(engine.socket)}))


def test_a_container_that_writes_moves_even_if_it_writes_the_same(engine: FakeApi) -> None:
    writes(engine, 1)
    watched = container(engine)
    assert watched.look(1000) == (None, {"probe": "output of bot", "probe_value": "2026-11-24T00:00:01.5Z"})
    assert watched.look(1010)[0] is False
    writes(engine, 2)
    assert watched.look(1020)[0] is True
    assert engine.asked[-1].query == {"stdout": "1", "stderr": "1", "timestamps": "1", "tail": "1"}


def test_the_first_line_ever_is_progress(engine: FakeApi) -> None:
    engine.answers["GET", "/containers/bot/logs"] = (200, b"")
    watched = container(engine)
    assert watched.look(1000)[1]["probe_value"] == "nothing"
    writes(engine, 1)
    assert watched.look(1010)[0] is True


def test_an_output_that_docker_does_not_keep_tells_nothing(engine: FakeApi) -> None:
    said = "configured logging driver does not support reading"
    engine.answers["GET", "/containers/bot/logs"] = (501, {"message": said})
    assert problem(container(engine)) == f"Docker answered: {said}"


# The journal


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which `journalctl` notes its arguments in `asked`, and says what `entry` and `error` hold."""
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


def test_a_new_entry_of_the_unit_is_progress(journal: Path) -> None:
    says(journal, "s=1;i=1")
    watched = probe(journal="bot")
    assert watched.look(1010)[0] is False
    says(journal, "s=1;i=2")
    assert watched.look(1020)[0] is True


def test_only_what_the_units_own_processes_write_is_asked_for(journal: Path) -> None:
    probe(journal="bot")
    asked = (journal / "asked").read_text().split()
    assert asked[-1] == "_SYSTEMD_UNIT=bot.service"
    assert "-u" not in asked
    probe(journal="bot.service", user=True)
    assert (journal / "asked").read_text().split()[-2:] == ["--user", "_SYSTEMD_USER_UNIT=bot.service"]


def test_the_first_entry_ever_is_progress(journal: Path) -> None:
    watched = probe(journal="bot")
    assert watched.look(1010)[0] is False
    says(journal, "s=1;i=1")
    assert watched.look(1020)[0] is True


def test_a_journal_that_may_not_be_read_is_not_silent(journal: Path) -> None:
    (journal / "error").write_text("Hint: You are currently not seeing messages from other users and the system.\n")
    assert "group systemd-journal" in problem(probes.make({"journal": "bot"}, BOT))


def test_a_journal_that_fails_tells_nothing(journal: Path) -> None:
    (journal / "error").write_text("Failed to open the journal\n")
    (journal / "code").write_text("1")
    assert problem(probes.make({"journal": "bot"}, BOT)) == "Failed to open the journal"


# All of them


def test_a_look_that_never_returns_does_not_hold_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    source = probes.Source("disk", lambda timeout: probes.Reading(over.wait(30), ""), lambda before, now: False)
    watched = probes.Watcher(source, timeout=0.1)
    assert problem(watched) == "no answer within 0.1 s"
    assert problem(watched) == "the look before has not returned yet"
    over.set()


def test_its_own_fault_is_an_answer(log: Path) -> None:
    def fails(_: float) -> probes.Reading:
        raise RuntimeError("out of ideas")

    watched = probes.Watcher(probes.Source("x", fails, lambda before, now: False), timeout=1)
    assert problem(watched) == "RuntimeError: out of ideas"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "a probe is one of log, output, journal, http, command"),
        ({"output": True}, "probe.output is true, and for targets of type docker"),
        ({"log": "/a", "http": "http://a"}, "a probe is one of"),
        ({"log": "bot.log"}, "probe.log is a whole path"),
        ({"log": ["/a"]}, "probe.log is a text"),
        ({"log": "/a", "field": "x"}, "probe.field is not known; a log probe has log, timeout"),
        ({"journal": "--flush"}, "probe.journal is a unit"),
        ({"journal": "bot", "user": "me"}, "user is true or false"),
        ({"http": "ftp://a/b"}, "probe.http is an address"),
        ({"http": "http://name:password@a/b"}, "without a name and password"),
        ({"http": "http://a/b", "field": 3}, "probe.http has a field"),
        ({"http": "http://a/b", "idle": 3}, "needs a field"),
        ({"command": "llen jobs"}, "probe.command is a list of words"),
        ({"command": []}, "probe.command is a list of words"),
        ({"command": ["a"], "direction": "sideways"}, "one of any, up, down"),
        ({"log": "/a", "timeout": 60}, "probe.timeout is a number of seconds up to 10"),
        ({"log": "/a", "timeout": True}, "probe.timeout is a number"),
    ],
)
def test_what_makes_no_probe_is_refused_with_what_to_write(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        probes.make(settings, BOT)
    assert str(refused.value).startswith("systemd:bot.service: ")


def test_evidence_is_short_and_plain(log: Path) -> None:
    shown: Evidence = probe(log=str(log)).look(1010)[1]
    assert {type(value) for value in shown.values()} <= {str, int, float, bool}
