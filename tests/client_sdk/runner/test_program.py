"""Running programs, with a time limit and without a shell."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from clevagent.runner import processes
from clevagent.runner.program import run

from tests.flows.installation import PATIENCE


def test_hanging_program_is_killed_with_children(tmp_path: Path) -> None:
    begun = time.monotonic()
    ran = run(["sh", "-c", f"sleep 61 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/own; wait"], 0.3)
    assert time.monotonic() - begun < 30
    assert (ran.code, ran.why) == (None, "sh did not answer within 0.3 s")
    for name in ("own", "child"):
        pid, end = int((tmp_path / name).read_text()), time.monotonic() + PATIENCE
        while processes.find(pid, 5) is not None:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_arguments_are_passed_unchanged() -> None:
    words = ["a b", "$HOME", "`id`", "; true", "*", ""]
    assert run(["printf", "[%s]", *words], 5).output == "".join(f"[{word}]" for word in words)


def test_program_gets_no_input_and_plain_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert run(["sh", "-c", 'cat; echo "$LC_ALL"'], 5).output == "C\n"


def test_error_message_is_one_line() -> None:
    ran = run(["sh", "-c", "echo out; printf 'no\n  such thing\n' >&2; exit 4"], 5)
    assert (ran.ok, ran.code, ran.why) == (False, 4, "no such thing")
    assert run(["sh", "-c", "exit 3"], 5).why == "exit code 3"


def test_undecodable_output_is_read() -> None:
    assert run(["printf", r"\377ok"], 5).output == "�ok"


def test_missing_program_is_reported() -> None:
    assert run(["no-such-program"], 5).why == "no-such-program could not be started: No such file or directory"
