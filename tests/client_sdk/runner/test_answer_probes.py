"""Progress in HTTP answers and command output, with a real HTTP server and real programs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clevagent.runner import probes

from tests.client_sdk.runner.fake_api import FakeApi
from tests.client_sdk.runner.probing import BOT, probe, problem

# HTTP answers


@pytest.fixture
def web() -> Iterator[FakeApi]:
    with FakeApi() as api:
        yield api


def answers(web: FakeApi, body: Any, status: int = 200) -> str:
    web.answers["GET", "/stats"] = (status, body)
    return f"http://127.0.0.1:{web.port}/stats"


def test_changed_body_is_progress(web: FakeApi) -> None:
    watched = probe(http=answers(web, b"3 done"))
    assert watched.look(1010)[0] is False
    answers(web, b"4 done")
    assert watched.look(1020)[0] is True


def test_only_the_configured_field_counts(web: FakeApi) -> None:
    watched = probe(http=answers(web, {"now": 1, "queues": [{"done": 7}]}), field="queues.0.done")
    answers(web, {"now": 2, "queues": [{"done": 7}]})
    assert watched.look(1010)[0] is False
    answers(web, {"now": 3, "queues": [{"done": 8}]})
    moved, shown = watched.look(1020)
    assert (moved, shown["probe_value"]) == (True, "8")


def test_missing_field_is_no_evidence(web: FakeApi) -> None:
    watched = probe(http=answers(web, {"done": 7}), field="done")
    answers(web, {"error": "starting"})
    assert problem(watched) == "the answer has no field done"


def test_etag_replaces_the_body(web: FakeApi) -> None:
    web.headers["ETag"] = '"a"'
    watched = probe(http=answers(web, b"at 10:00"))
    answers(web, b"at 10:01")
    assert watched.look(1010)[0] is False
    web.headers["ETag"] = '"b"'
    assert watched.look(1020)[0] is True


@pytest.mark.parametrize("status", [302, 404, 500])
def test_http_error_is_no_evidence(web: FakeApi, status: int) -> None:
    watched = probe(http=answers(web, b"3 done"))
    answers(web, b"", status)
    assert problem(watched) == f"HTTP status {status}"


def test_refused_connection_is_no_evidence(web: FakeApi) -> None:
    address = answers(web, b"")
    watched = probe(http=address)
    web.__exit__()
    assert problem(watched) == "Connection refused"


def test_hanging_address_is_no_evidence(web: FakeApi) -> None:
    watched = probe(http=answers(web, b""), timeout=0.2)
    web.hang = 30
    began = time.monotonic()
    assert problem(watched) == "no answer within 0.2 s"
    assert time.monotonic() - began < 15


def test_query_string_is_not_shown(web: FakeApi) -> None:
    address = answers(web, b"")
    assert probe(http=f"{address}?token=secret").look(1010)[1]["probe"] == f"http {address}"


# Command output


def printing(path: Path, text: str) -> list[str]:
    path.write_text(text)
    return ["cat", str(path)]


def test_changed_output_is_progress(tmp_path: Path) -> None:
    depth = tmp_path / "depth"
    watched = probe(command=printing(depth, "17\n"))
    assert watched.look(1010)[0] is False
    printing(depth, "16\n")
    assert watched.look(1020) == (True, {"probe": "command cat", "probe_value": "16"})


def test_filling_queue_is_not_progress(tmp_path: Path) -> None:
    depth = tmp_path / "depth"
    watched = probe(command=printing(depth, "17"), direction="down")
    printing(depth, "18")
    assert watched.look(1010)[0] is False
    printing(depth, "9")
    assert watched.look(1020)[0] is True


def test_counter_must_rise(tmp_path: Path) -> None:
    done = tmp_path / "done"
    watched = probe(command=printing(done, "9"), direction="up")
    printing(done, "10")
    assert watched.look(1010)[0] is True
    printing(done, "0")
    assert watched.look(1020)[0] is False


def test_empty_queue_is_not_stuck(tmp_path: Path) -> None:
    depth = tmp_path / "depth"
    watched = probe(command=printing(depth, "0"), direction="down", idle=0)
    assert watched.look(1010)[0] is True
    printing(depth, "1")
    assert watched.look(1020)[0] is False


def test_direction_requires_numbers(tmp_path: Path) -> None:
    watched = probe(command=printing(tmp_path / "depth", "none"), direction="down")
    assert problem(watched) == "'none' and 'none' cannot be compared as numbers"


def test_failing_command_is_no_evidence(tmp_path: Path) -> None:
    depth = tmp_path / "depth"
    watched = probe(command=printing(depth, "17"))
    depth.unlink()
    assert "No such file" in problem(watched)
    printing(depth, "17")
    assert watched.look(1020)[0] is False


def test_missing_command_is_no_evidence() -> None:
    assert "no-such-program could not be started" in problem(probes.make({"command": ["no-such-program"]}, BOT))


def test_hanging_command_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    watched = probes.make({"command": [sys.executable, "-c", code], "timeout": 1}, BOT)
    assert "did not answer within 1 s" in problem(watched)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_command_runs_without_a_shell() -> None:
    watched = probe(command=["echo", "$HOME; date"])
    assert watched.look(1010)[1]["probe_value"] == "$HOME; date"


def test_long_output_is_compared_in_full(tmp_path: Path) -> None:
    out = tmp_path / "out"
    watched = probe(command=printing(out, "x" * 5000))
    printing(out, "x" * 4999 + "y")
    moved, shown = watched.look(1010)
    assert (moved, len(str(shown["probe_value"]))) == (True, 100)
