"""`clevagent run` around commands of every kind, and `ping`, `start`, `fail`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shutil
import signal
import stat
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from clevagent.jobs import cli, report
from clevagent.testing import FakeServer

from tests.flows.installation import wait_until

CLIENT = Path(cli.__file__).parents[2]
EVERY_BYTE = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 300); sys.exit(5)"
IGNORES = "trap '' TERM; echo ready; read line; echo survived; exit 6"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


def environment(url: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CLIENT), "CLEVAGENT_ENDPOINT": url, "CLEVAGENT_API_KEY": "cv_test"}


def argv(*command: str, options: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, "-m", "clevagent", "run", "--agent", "nightly", *options, "--", *command]


def run(url: str, *command: str, options: tuple[str, ...] = (), **more: Any) -> subprocess.CompletedProcess[bytes]:
    arguments = argv(*command, options=options)
    return subprocess.run(arguments, env=environment(url), capture_output=True, timeout=120, check=False, **more)


@contextlib.contextmanager
def started(command: Sequence[str], **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Nothing of it is left, also when the test fails."""
    with subprocess.Popen(command, **more) as running:
        try:
            yield running
        finally:
            running.kill()


@contextlib.contextmanager
def in_terminal(server: FakeServer, *command: str) -> Iterator[tuple[int, int]]:
    """A wrapped command in a terminal of 80 columns and 24 lines: its process and the terminal's other end."""
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        os.execve(sys.executable, argv(*command), environment(server.url))
    try:
        yield pid, terminal
    finally:
        os.close(terminal)
        with contextlib.suppress(ChildProcessError):  # the test has waited for it
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def jobs(server: FakeServer) -> list[dict[str, Any]]:
    return [beat["job"] for beat in server.beats if "job" in beat]


@pytest.mark.live
def test_run_reports_start_and_end(server: FakeServer) -> None:
    options = ("--cron", "0 2 * * *", "--time-zone", "Europe/Berlin", "--max-duration", "60")
    done = run(server.url, "sh", "-c", "echo out; echo password=hunter2 >&2; exit 3", options=options)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"password=hunter2\n")
    start, end = jobs(server)
    declared = {"kind": "cron", "expression": "0 2 * * *", "time_zone": "Europe/Berlin", "max_duration": 60.0}
    assert (start["event"], start["schedule"]) == ("start", declared)
    assert (end["event"], end["exit_status"], end["rid"]) == ("fail", 3, start["rid"])
    last = server.beats[-1]
    assert last["custom_data"].splitlines()[-1] == "password=[hidden]"
    assert last["memory_mb"] > 0


@pytest.mark.live
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_run_ends_by_the_same_signal(server: FakeServer, number: signal.Signals) -> None:
    assert run(server.url, "sh", "-c", f"kill -{number.value} $$").returncode == -number
    assert jobs(server)[-1]["exit_status"] == 128 + number


OUTCOMES = [
    (0, "Succeeded"),
    (3, "Failed: exit status 3"),
    (137, "Failed: exit status 137, killed (maybe out of memory)"),
    (-9, "Failed: ended by SIGKILL, killed (maybe out of memory)"),
    (-11, "Failed: ended by SIGSEGV"),
    (-45, "Failed: ended by signal 45"),
]


@pytest.mark.parametrize(("code", "words"), OUTCOMES)
def test_ending_is_said_in_words(code: int, words: str) -> None:
    assert report.ending(code) == words


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """A control group with 48 MiB of memory. Skips the test where none can be made."""
    old, new = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    root, limit = (old, "memory.limit_in_bytes") if old.is_dir() else (new, "memory.max")
    group = root / f"clevagent-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(48 << 20))
    except OSError as error:
        pytest.skip(f"needs to make a control group: {error}")
    yield group
    group.rmdir()


@pytest.mark.live
def test_kernel_kills_for_memory(server: FakeServer, small_memory: Path) -> None:
    program = 'print("began", flush=True); b"x" * (400 << 20)'
    greedy = f"echo $$ > {small_memory}/cgroup.procs && exec {sys.executable} -c '{program}'"
    done = run(server.url, "sh", "-c", greedy)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"began\n")
    assert server.beats[-1]["message"].startswith("Failed: ended by SIGKILL, killed (maybe out of memory) after")
    assert jobs(server)[-1]["exit_status"] == 137


FORKS = """
import os, sys
child = os.fork()
os.write(1, b"child\n" if child == 0 else b"parent\n")
if child == 0:
    os._exit(9)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) - 4)
"""
COMMANDS = {
    "python": (
        sys.executable,
        "-c",
        "import sys; print('\\x1b[32mout\\x1b[0m'); print('err', file=sys.stderr); sys.exit(3)",
    ),
    "node": ("node", "-e", "process.stdout.write('\\x1b[31mhi'); process.stderr.write('no'); process.exit(4)"),
    "shell": ("sh", "-c", "echo out; echo err >&2; exit 5"),
    "forks": (sys.executable, "-c", FORKS),
    "binary": (sys.executable, "-c", EVERY_BYTE),
    "killed": ("sh", "-c", "echo out; kill -KILL $$"),
}


@pytest.mark.live
@pytest.mark.parametrize("state", ["up", "hanging", "down"])
def test_commands_behave_as_without_us(server: FakeServer, state: str) -> None:
    server.hang = 3600 if state == "hanging" else 0
    url = "http://127.0.0.1:9" if state == "down" else server.url
    commands = [command for command in COMMANDS.values() if shutil.which(command[0])]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # All at once, because each waits a few seconds for a server that hangs.
    with contextlib.ExitStack() as stack:
        bare = [stack.enter_context(started(command, **pipes)) for command in commands]
        wrapped = [stack.enter_context(started(argv(*command), env=environment(url), **pipes)) for command in commands]
        for command, alone, ours in zip(commands, bare, wrapped, strict=True):
            wanted, seen = alone.communicate(timeout=120), ours.communicate(timeout=120)
            assert (sorted(seen[0].splitlines()), seen[1]) == (sorted(wanted[0].splitlines()), wanted[1]), command
            assert ours.returncode == alone.returncode, command
    if state == "up":
        codes = sorted(job["exit_status"] for job in jobs(server) if "exit_status" in job)
        assert codes == sorted(one.returncode if one.returncode >= 0 else 128 - one.returncode for one in bare)


RESIZED = """
import os, signal
def look(*_):
    if os.get_terminal_size(1) == (120, 40):
        print("resized", flush=True)
        os._exit(0)
signal.signal(signal.SIGWINCH, look)
print(*os.get_terminal_size(1), os.isatty(2), flush=True)
while True:
    signal.pause()
"""


@pytest.mark.live
def test_terminal_size_follows(server: FakeServer) -> None:
    with in_terminal(server, sys.executable, "-c", RESIZED) as (pid, terminal):
        outer = os.fdopen(terminal, "rb", buffering=0, closefd=False)
        assert outer.readline() == b"80 24 True\r\n"
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        assert outer.readline() == b"resized\r\n"
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.live
def test_binary_output_is_unchanged(server: FakeServer) -> None:
    done = run(server.url, sys.executable, "-c", EVERY_BYTE)
    assert (done.returncode, done.stdout) == (5, bytes(range(256)) * 300)


@pytest.mark.live
def test_input_reaches_the_command(server: FakeServer) -> None:
    assert run(server.url, "cat", input=b"\x00typed\xff").stdout == b"\x00typed\xff"


@pytest.mark.live
def test_processes_left_behind_keep_their_output(server: FakeServer) -> None:
    done = run(server.url, "sh", "-c", '(while [ -z "$(echo 1)" ]; do :; done; sleep 1; echo late) & echo early')
    assert (done.returncode, done.stdout) == (0, b"early\nlate\n")
    assert jobs(server)[-1]["duration"] < 1


@pytest.mark.live
def test_signals_are_passed_on(server: FakeServer) -> None:
    script = "trap 'echo got it; exit 7' TERM; echo ready; while :; do sleep 0.1; done"
    with start(server, script) as running:
        running.send_signal(signal.SIGTERM)
        assert running.communicate(timeout=60)[0] == b"got it\n"
    assert running.returncode == 7


@pytest.mark.live
def test_command_that_ignores_sigterm_is_waited_for(server: FakeServer) -> None:
    with start(server, IGNORES) as running:
        running.send_signal(signal.SIGTERM)
        assert running.communicate(b"go\n", timeout=60)[0] == b"survived\n"
    assert running.returncode == 6


@contextlib.contextmanager
def start(server: FakeServer, script: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command under `clevagent run` that has shown that it is ready."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with started(argv("sh", "-c", script), env=environment(server.url), bufsize=0, **pipes) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        yield running


@pytest.mark.live
def test_terminal_stays_a_terminal(server: FakeServer) -> None:
    script = "test -t 0 && test -t 1 && test -t 2 && stty rows 33 cols 111 && stty size && printf '\\033[31mred\\n'"
    output = b""
    with in_terminal(server, "sh", "-c", script) as (pid, terminal):
        with contextlib.suppress(OSError):  # Linux's end of a terminal
            while data := os.read(terminal, 1_000):
                output += data
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert output == b"33 111\r\n\x1b[31mred\r\n"


@pytest.mark.live
@pytest.mark.parametrize(("program", "status"), [("no-such-program", 127), ("/etc/passwd", 126)])
def test_command_that_cannot_start(server: FakeServer, program: str, status: int) -> None:
    assert run(server.url, program).returncode == status
    assert jobs(server)[-1]["exit_status"] == status


@pytest.mark.live
def test_run_works_without_a_server() -> None:
    done = run("http://127.0.0.1:9", "sh", "-c", "echo x; exit 4")
    assert (done.returncode, done.stdout, done.stderr) == (4, b"x\n", b"")


@pytest.mark.live
def test_both_outputs_keep_their_order(server: FakeServer) -> None:
    script = "for number in 1 2 3 4 5; do echo out $number; echo err $number >&2; done"
    command = argv("sh", "-c", script)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, env=environment(server.url), check=False, timeout=60, **pipes)
    assert done.stdout == b"".join(b"out %d\nerr %d\n" % (number, number) for number in range(1, 6))


@pytest.mark.live
def test_further_descriptors_reach_the_command(server: FakeServer) -> None:
    source, target = os.pipe()
    try:
        program = f"import os; os.write({target}, b'more\\n')"
        assert run(server.url, sys.executable, "-c", program, pass_fds=(target,)).returncode == 0
        assert os.read(source, 100) == b"more\n"
    finally:
        os.close(source)
        os.close(target)


@pytest.mark.live
@pytest.mark.parametrize(("code", "status"), [(256, 0), (257, 1), (-1, 255)])
def test_exit_status_beyond_a_byte_is_the_kernels(server: FakeServer, code: int, status: int) -> None:
    assert run(server.url, sys.executable, "-c", f"import os; os._exit({code})").returncode == status


def unsent() -> list[Path]:
    """The files with what could not be sent."""
    return sorted(Path(os.environ["XDG_STATE_HOME"]).glob("clevagent/unsent-*"))


def job_beats(server: FakeServer) -> list[tuple[str, str, bool]]:
    """What arrived about runs: the agent, the event, and whether it is progress now."""
    beats = [beat for beat in server.beats if "job" in beat]
    return [(beat["agent"], beat["job"]["event"], beat["progress"]) for beat in beats]


@pytest.mark.live
@pytest.mark.parametrize("state", ["hanging", "down", "failing"])
def test_run_without_a_server_is_delivered_later(server: FakeServer, state: str) -> None:
    server.hang, server.status = (60 if state == "hanging" else 0), (503 if state == "failing" else 200)
    url = "http://127.0.0.1:9" if state == "down" else server.url
    assert run(url, "sh", "-c", "echo x; exit 4").returncode == 4
    for file in unsent():
        assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)
    assert unsent()
    server.hang, server.status = 0, 200
    server.beats.clear()  # a server that hangs has taken some, but said nothing
    assert run(server.url, "true").returncode == 0
    ours, late = ("nightly", "start", True), [("nightly", "start", False), ("nightly", "fail", False)]
    assert job_beats(server) == [ours, *late, ("nightly", "success", True)]
    began, ended = [beat for beat in server.beats if "job" in beat][1:3]
    assert began["job"]["rid"] == ended["job"]["rid"] != server.beats[0]["job"]["rid"]
    assert (began["age"] >= ended["age"] > 0, ended["custom_data"]) == (True, "x")
    assert unsent() == []


@pytest.mark.live
def test_start_survives_a_kill(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with started(argv("cat"), env=environment("http://127.0.0.1:9"), **pipes):
        wait_until(lambda: [file for file in unsent() if file.stat().st_size], "the start is stored")
    monkeypatch.setenv("CLEVAGENT_API_KEY", server.key)
    assert cli.main(["ping", "--agent", "etl", "--endpoint", server.url]) == 0
    assert [beat[:2] for beat in job_beats(server)] == [("etl", "success"), ("nightly", "start")]
    assert unsent() == []


def test_event_without_a_server_is_delivered_later(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLEVAGENT_API_KEY", server.key)
    common = ["--agent", "etl", "--rid", "a", "--endpoint"]
    assert cli.main(["start", *common, "http://127.0.0.1:9"]) == 1
    server.status = 503
    assert cli.main(["fail", *common, server.url, "--exit-status", "3", "disk full"]) == 1
    assert capsys.readouterr().err.count("it is stored, and sent with the next report") == 2
    server.status = 200
    assert cli.main(["ping", "--agent", "other", "--endpoint", server.url]) == 0
    assert [beat[:2] for beat in job_beats(server)] == [("other", "success"), ("etl", "start"), ("etl", "fail")]
    assert server.beats[-1]["message"] == "disk full"
    assert unsent() == []


def test_refused_event_is_not_stored(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEVAGENT_API_KEY", "cv_wrong")
    assert cli.main(["ping", "--agent", "etl", "--endpoint", server.url]) == 1
    monkeypatch.setenv("CLEVAGENT_SPOOL", "off")
    assert cli.main(["ping", "--agent", "etl", "--endpoint", "http://127.0.0.1:9"]) == 1
    assert unsent() == []


@pytest.mark.live
def test_wrong_key_holds_nothing_up(server: FakeServer) -> None:
    variables = {**environment(server.url), "CLEVAGENT_API_KEY": "cv_wrong"}
    done = subprocess.run(argv("sh", "-c", "exit 4"), env=variables, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (4, b"", b"")
    ends = [request for request in server.requests if "fail" in str(request.body)]
    assert len(ends) == 1


@pytest.mark.live
def test_run_works_with_a_hanging_server(server: FakeServer) -> None:
    server.hang = 60
    assert run(server.url, "sh", "-c", "exit 4").returncode == 4


@pytest.mark.live
def test_run_works_without_a_key() -> None:
    variables = {**environment("http://127.0.0.1:9"), "CLEVAGENT_API_KEY": ""}
    done = subprocess.run(argv("sh", "-c", "exit 4"), env=variables, capture_output=True, timeout=60, check=False)
    assert done.returncode == 4
    assert b"not reported: no API key" in done.stderr


@pytest.mark.parametrize(
    ("command", "event", "status"), [("ping", "success", "ok"), ("start", "start", "ok"), ("fail", "fail", "error")]
)
def test_events_are_reported(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, command: str, event: str, status: str
) -> None:
    monkeypatch.setenv("CLEVAGENT_API_KEY", server.key)
    assert cli.main([command, "--agent", "etl", "--endpoint", server.url, "--rid", "a", "token=abcdefgh12345678"]) == 0
    (beat,) = server.beats
    assert (beat["job"], beat["status"], beat["message"]) == ({"event": event, "rid": "a"}, status, "token=[hidden]")


def test_event_that_is_not_taken_fails(server: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("CLEVAGENT_API_KEY", server.key)
    server.status = 403
    assert cli.main(["ping", "--agent", "etl", "--endpoint", server.url]) == 1
    assert cli.main(["ping", "--agent", "etl", "--endpoint", "http://127.0.0.1:9"]) == 1
    assert cli.main(["ping", "--agent", ""]) == 2
    assert "refused" in capsys.readouterr().err


def test_output_is_bounded_and_redacted() -> None:
    text = report.tail(b"x" * 100_000 + b"\xff\x00 api_key=abcdefghijkl\n")
    assert len(text) <= report.MAX_OUTPUT
    assert text.endswith("\ufffd\ufffd api_key=[hidden]")


@pytest.mark.parametrize("value", ["Europe/Berlin", ":Europe/Berlin", "/usr/share/zoneinfo/Europe/Berlin"])
def test_time_zone_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TZ", value)
    assert cli.local_zone() == "Europe/Berlin"


@pytest.mark.live
def test_endless_output_left_behind_holds_nothing_up(server: FakeServer, tmp_path: Path) -> None:
    script = f"yes & echo $! >{tmp_path}/pid; exit 3"
    command = argv("sh", "-c", script)
    try:
        done = subprocess.run(command, env=environment(server.url), stdout=subprocess.DEVNULL, timeout=60)
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)  # it was still there
    assert done.returncode == 3
    assert jobs(server)[-1]["exit_status"] == 3
