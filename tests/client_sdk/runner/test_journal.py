"""Logging to stderr and to fields of the journal, never with the key."""

from __future__ import annotations

import logging
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clevagent
import pytest
from clevagent.runner import journal
from clevagent.runner.target import parse

TARGET = parse("systemd:a.service=bot")


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "j.sock"))
        listening.settimeout(5)
        yield listening


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    root = logging.getLogger(journal.ROOT)
    before = root.level, root.propagate, list(root.handlers)
    yield
    for handler in set(root.handlers) - set(before[2]):
        handler.close()
    root.level, root.propagate, root.handlers[:] = before
    root.manager._clear_cache()  # type: ignore[attr-defined]


def logged(text: str, *args: Any, **extra: Any) -> None:
    logging.getLogger("clevagent.runner.watch").error(text, *args, extra=extra)


def test_entries_have_searchable_fields(tmp_path: Path, journald: socket.socket) -> None:
    journal.begin("INFO", "cv_1", path=tmp_path / "j.sock")
    logged("%s: Not responding", TARGET, target=TARGET, command=7)
    assert journald.recv(9999).decode().splitlines() == [
        "MESSAGE=systemd:a.service: Not responding",
        "PRIORITY=3",
        "SYSLOG_IDENTIFIER=clevagent-runner",
        "CLEVAGENT_TARGET=systemd:a.service",
        "CLEVAGENT_AGENT=bot",
        "CLEVAGENT_COMMAND=7",
    ]


def test_multi_line_message_is_one_entry(tmp_path: Path, journald: socket.socket) -> None:
    journal.begin("INFO", "cv_1", path=tmp_path / "j.sock")
    logged("two\nlines")
    assert journald.recv(9999).startswith(b"MESSAGE\n" + struct.pack("<Q", 9) + b"two\nlines\nPRIORITY=3\n")


def test_key_is_never_logged(tmp_path: Path, journald: socket.socket, capfd: pytest.CaptureFixture[str]) -> None:
    journal.begin("INFO", "cv_secret", path=tmp_path / "j.sock")
    try:
        raise ValueError("cv_secret")
    except ValueError:
        logging.getLogger("clevagent").exception("with cv_secret")
    entry, line = journald.recv(9999).decode(errors="replace"), capfd.readouterr().err
    for text in (entry, line):
        assert "cv_secret" not in text
        assert "ValueError: cv_…" in text


def test_long_text_is_cut(tmp_path: Path, journald: socket.socket) -> None:
    journal.begin("INFO", "", path=tmp_path / "j.sock")
    logged("x" * 1_000_000)
    assert len(journald.recv(999_999)) < journal.MAX_TEXT_LENGTH + 200


def test_missing_journal_is_harmless(
    tmp_path: Path, journald: socket.socket, capfd: pytest.CaptureFixture[str]
) -> None:
    journal.begin("INFO", "", path=tmp_path / "j.sock")
    journald.close()
    logged("still here")
    (tmp_path / "j.sock").unlink()
    logged("and here")
    said = capfd.readouterr().err
    assert "still here" in said
    assert "and here" in said
    assert "Traceback" not in said


def test_stderr_is_used_without_a_journal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    journal.begin("WARNING", "", path=tmp_path / "none")
    logged("told")
    logging.getLogger("clevagent").info("not told")
    assert capfd.readouterr().err.endswith(" ERROR told\n")


def test_journal_on_stderr_gets_no_duplicates(tmp_path: Path, journald: socket.socket) -> None:
    code = "import logging, os; from pathlib import Path; from clevagent.runner import journal\n"
    code += "found = os.fstat(2); os.environ['JOURNAL_STREAM'] = f'{found.st_dev}:{found.st_ino}'\n"
    code += f"journal.begin('INFO', '', path=Path({str(tmp_path / 'j.sock')!r}))\n"
    code += "logging.getLogger('clevagent').error('once')"
    environment = {**os.environ, "PYTHONPATH": str(Path(clevagent.__file__).parents[1])}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert journald.recv(9999).startswith(b"MESSAGE=once\n")
    assert ran.stderr == ""
