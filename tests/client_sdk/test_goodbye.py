"""A shutdown heartbeat follows every heartbeat a process may have sent, however early it ends.

Each program sends itself the signal at the critical moment, so the tests do not depend on timing.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import pytest
from clevagent.locks import DeferringLock
from clevagent.testing import FakeServer
from clevagent.worker import Worker

from tests.client_sdk.conftest import Program


def end_by_sigterm(program: Program, code: str) -> None:
    """Run a program that sends itself SIGTERM. It must die of it, without output on stderr."""
    ended = program.run(code)
    assert (ended.returncode, ended.stderr) == (-signal.SIGTERM, "")


def last_status(server: FakeServer) -> str:
    return str(server.beats[-1]["status"])


def test_sigterm_while_the_thread_starts(program: Program, server: FakeServer) -> None:
    server.hang = 0.2  # the first heartbeat is still in flight when the signal arrives
    code = """
        import os, signal, threading, time, clevagent
        start = threading.Thread.start
        def start_and_terminate(thread):
            start(thread)
            if thread.name == "clevagent":
                time.sleep(0.1)
                os.kill(os.getpid(), signal.SIGTERM)
        threading.Thread.start = start_and_terminate
        clevagent.init(handle_signals=True)
    """
    end_by_sigterm(program, code)
    assert last_status(server) == "shutdown"


def test_sigterm_just_before_the_thread_starts(program: Program, server: FakeServer) -> None:
    code = """
        import os, signal, threading, clevagent
        start = threading.Thread.start
        def terminate_and_start(thread):
            if thread.name == "clevagent":
                os.kill(os.getpid(), signal.SIGTERM)
            start(thread)
        threading.Thread.start = terminate_and_start
        clevagent.init(handle_signals=True)
    """
    end_by_sigterm(program, code)
    assert last_status(server) == "shutdown"


def test_nothing_is_sent_before_handlers_are_in(program: Program, server: FakeServer) -> None:
    """Patching model SDKs comes first and can take long; other threads may report meanwhile."""
    code = """
        import os, signal, threading, clevagent
        from clevagent import capture
        def report_and_terminate():
            reporting = threading.Thread(target=lambda: (clevagent.ping(), clevagent.flush()))
            reporting.start()
            reporting.join()
            os.kill(os.getpid(), signal.SIGTERM)
        capture.install = report_and_terminate
        clevagent.init(handle_signals=True)
    """
    end_by_sigterm(program, code)
    assert [beat["status"] for beat in server.beats] in ([], ["ok", "shutdown"])


@pytest.mark.parametrize("ending", ["clevagent.shutdown()", "raise SystemExit"])
def test_sigterm_during_shutdown(program: Program, server: FakeServer, ending: str) -> None:
    code = f"""
        import os, signal, clevagent
        from clevagent.client import Client
        close = Client.close
        def terminate_and_close(client):
            Client.close = close
            os.kill(os.getpid(), signal.SIGTERM)
            close(client)
        Client.close = terminate_and_close
        clevagent.init(handle_signals=True)
        {ending}
    """
    end_by_sigterm(program, code)
    assert last_status(server) == "shutdown"


def test_a_second_sigterm_still_waits(program: Program, server: FakeServer) -> None:
    code = """
        import os, signal, clevagent
        from clevagent.worker import Worker
        end = Worker.end
        def terminate_and_end(worker, seconds):
            Worker.end = end
            os.kill(os.getpid(), signal.SIGTERM)
            return end(worker, seconds)
        Worker.end = terminate_and_end
        clevagent.init(handle_signals=True)
        os.kill(os.getpid(), signal.SIGTERM)
    """
    end_by_sigterm(program, code)
    assert last_status(server) == "shutdown"


def test_an_interrupted_shutdown_is_resumed_at_exit(program: Program, server: FakeServer) -> None:
    code = """
        import clevagent
        from clevagent.client import Client
        close = Client.close
        def interrupt(client):
            Client.close = close
            raise KeyboardInterrupt
        Client.close = interrupt
        clevagent.init()
        try:
            clevagent.shutdown()
        except KeyboardInterrupt:
            print("interrupted")
    """
    ended = program.run(code)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "interrupted\n", "")
    assert last_status(server) == "shutdown"


@pytest.mark.parametrize("end", ["the default", "the program's handler"])
def test_sigterm_in_the_middle_of_a_ping(program: Program, server: FakeServer, end: str) -> None:
    """The sender needs the lock that the interrupted code holds."""
    own = "signal.signal(signal.SIGTERM, lambda *args: (clevagent.shutdown(), sys.exit(3)))"
    code = f"""
        import os, signal, sys, time, clevagent
        from clevagent.counters import Counters
        {own if end != "the default" else ""}
        clevagent.init(handle_signals=True)
        assert clevagent.flush()
        spend = Counters.spend
        def terminate_and_spend(counters, tokens, cost_usd):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)
            spend(counters, tokens, cost_usd)
        Counters.spend = terminate_and_spend
        clevagent.ping(tokens_used=7)
        time.sleep(30)
    """
    ended = program.run(code)
    assert (ended.returncode, ended.stderr) == (-signal.SIGTERM if end == "the default" else 3, "")
    assert last_status(server) == "shutdown"


@pytest.mark.parametrize("module", ["clevagent.capture", "asyncio.base_events"])
def test_sigterm_during_an_import(program: Program, server: FakeServer, module: str) -> None:
    """A module that is still being imported is in sys.modules, but empty."""
    code = f"""
        import os, signal, sys, types, clevagent
        clevagent.init(handle_signals=True)
        sys.modules["{module}"] = types.ModuleType("half of it")
        os.kill(os.getpid(), signal.SIGTERM)
    """
    end_by_sigterm(program, code)
    assert last_status(server) == "shutdown"


def test_an_end_right_after_init(program: Program, server: FakeServer) -> None:
    assert program.run("import clevagent; clevagent.init()").returncode == 0
    assert last_status(server) == "shutdown"


class RecordingReporter:
    """Records which threads send."""

    is_idle = False

    def confirm(self) -> bool:
        return self.is_idle

    def __init__(self) -> None:
        self.threads: list[int] = []

    def step(self, now: float, wall: float) -> float:
        return now + 60

    def finish(self, now: float, wall: float, *, is_last: bool = False) -> None:
        self.threads.append(threading.get_ident())
        self.is_idle = True

    def close(self) -> None:
        """Nothing is open."""


def test_a_flush_never_sends_from_its_caller() -> None:
    """Not even from a handler that interrupted the thread's start, because a hanging server would block it."""
    reporter = RecordingReporter()
    worker = Worker(reporter)  # type: ignore[arg-type]
    with worker._start_lock:
        assert worker.end(5)
    assert reporter.threads
    assert threading.get_ident() not in reporter.threads


def test_work_waits_for_the_lock_it_interrupted() -> None:
    lock, done = DeferringLock(), list[str]()
    note: Callable[[str], Callable[[], None]] = lambda text: lambda: done.append(text)  # noqa: E731
    with lock:
        with lock:
            lock.run_when_free(note("deferred"))
        assert done == []
    assert done == ["deferred"]
    lock.run_when_free(note("now"))
    assert done == ["deferred", "now"]
