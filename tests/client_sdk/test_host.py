"""The SDK must never harm its host program. Each test runs one in a separate process."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest
from clevagent.testing import FakeServer

from tests.client_sdk.conftest import Program
from tests.flows.installation import PATIENCE, slowdown

pytestmark = pytest.mark.live

# The only output of a successful program.
FINE = "fine\n"


def run(program: Program, code: str, **more: Any) -> str:
    """Return the output of a program that succeeded without output on stderr."""
    ended = program.run(code, **more)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def statuses(server: FakeServer) -> list[str]:
    return [beat["status"] for beat in server.beats]


def test_normal_exit_reports_shutdown(program: Program, server: FakeServer) -> None:
    assert run(program, "import clevagent; clevagent.init(); clevagent.log_cost(7, 0.5); print('fine')") == FINE
    assert statuses(server)[-1] == "shutdown"
    assert (server.tokens(), float(server.spent())) == (7, 0.5)


@pytest.mark.parametrize("ending", ["raise SystemExit(3)", "raise KeyboardInterrupt"])
def test_requested_exit_is_not_a_crash(program: Program, server: FakeServer, ending: str) -> None:
    program.run(f"import clevagent; clevagent.init(); {ending}")
    assert statuses(server)[-1] == "shutdown"
    assert "error" not in statuses(server)


def test_crash_is_reported_without_secrets(program: Program, server: FakeServer) -> None:
    code = """
        import os, clevagent
        clevagent.init()
        def work(): raise ValueError("key sk-abcdefghijklmnop1234 and " + os.environ["MY_TOKEN"])
        work()
    """
    ended = program.run(code, env={"MY_TOKEN": "hush-hush-1"})
    assert ended.returncode == 1
    assert "ValueError" in ended.stderr  # Python's own report is still there
    last = server.beats[-1]
    assert last["status"] == "error"
    assert last["message"] == "CRASH: ValueError: key [hidden] and [hidden]"
    assert "in work" in last["custom_data"]
    assert "hush-hush-1" not in str(server.requests)
    assert "abcdefghijklmnop1234" not in str(server.requests)


@pytest.mark.parametrize(
    ("work", "where"),
    [
        ("t = threading.Thread(target=boom, name='helper'); t.start(); t.join()", "in thread helper"),
        ("asyncio.run(tasks())", "in task helper"),
    ],
)
def test_crash_in_a_thread_or_task_is_reported(program: Program, server: FakeServer, work: str, where: str) -> None:
    code = f"""
        import asyncio, gc, threading, clevagent
        clevagent.init()
        clevagent.ping()
        def boom(): raise ValueError("boom")
        async def aboom(): boom()
        async def tasks():
            asyncio.get_running_loop().create_task(aboom(), name="helper")
            await asyncio.sleep(0.01)
            gc.collect()
        {work}
        print("fine")
    """
    ended = program.run(code)
    assert ended.stdout == FINE
    assert "ValueError: boom" in ended.stderr
    crash = next(beat for beat in server.beats if beat["status"] == "error")
    assert crash["message"] == f"CRASH: ValueError: boom ({where})"
    assert statuses(server)[-1] == "shutdown"


def test_hooks_are_chained_and_restored(program: Program, server: FakeServer) -> None:
    code = """
        import sys, threading, asyncio.base_events, clevagent
        before = sys.excepthook, threading.excepthook, asyncio.base_events.BaseEventLoop.call_exception_handler
        clevagent.init()
        clevagent.ping()
        ours = sys.excepthook
        assert ours is not before[0]
        clevagent.shutdown()
        after = sys.excepthook, threading.excepthook, asyncio.base_events.BaseEventLoop.call_exception_handler
        assert after == before
        clevagent.init()
        def theirs(*args): print("theirs")
        inner, sys.excepthook = sys.excepthook, lambda *args: (theirs(), inner(*args))
        mine = sys.excepthook
        clevagent.shutdown()
        assert sys.excepthook is mine  # it was put over ours, so it stays
        print("fine")
    """
    assert run(program, code) == FINE


def test_signal_handlers_are_untouched_by_default(program: Program) -> None:
    code = """
        import signal, clevagent
        seen = [signal.getsignal(number) for number in signal.valid_signals()]
        clevagent.init()
        assert [signal.getsignal(number) for number in signal.valid_signals()] == seen
        clevagent.shutdown()
        assert [signal.getsignal(number) for number in signal.valid_signals()] == seen
        print("fine")
    """
    assert run(program, code) == FINE


def test_handled_sigterm_reports_and_ends(program: Program, server: FakeServer) -> None:
    code = "import time, clevagent; clevagent.init(handle_signals=True); print('up', flush=True); time.sleep(60)"
    with program.start(code) as process:
        assert process.stdout
        process.stdout.readline()
        process.terminate()
        assert process.wait(PATIENCE) == -signal.SIGTERM
    assert statuses(server)[-1] == "shutdown"


def test_sigterm_ends_despite_reporting_errors(program: Program) -> None:
    """As during an import, whose error handling would swallow an exception from the handler."""
    code = """
        import os, signal, sys, types, clevagent
        clevagent.init(handle_signals=True)
        sys.modules["clevagent.capture"] = types.ModuleType("half of it")
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Exception:
            pass
        print("it lives on")
    """
    with program.start(code) as process:
        assert process.communicate(timeout=PATIENCE)[0] == ""
        assert process.returncode == -signal.SIGTERM


def test_own_signal_handler_still_decides(program: Program, server: FakeServer) -> None:
    code = """
        import os, signal, clevagent
        seen = []
        signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
        clevagent.init(handle_signals=True)
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen == [signal.SIGTERM]
        assert clevagent.flush()
        print("fine")
    """
    assert run(program, code) == FINE
    assert statuses(server)[:-1] == ["ok"] * (len(server.beats) - 1)


@pytest.mark.parametrize("trouble", ["down", "hangs", "refuses", "nonsense"])
def test_failing_server_only_delays_the_exit(program: Program, server: FakeServer, trouble: str) -> None:
    code = f"""
        import time, clevagent
        clevagent.init()
        slowest = 0
        for number in range(200):
            began = time.perf_counter()
            clevagent.ping(message=f"step {{number}}", cost_usd=0.1)
            slowest = max(slowest, time.perf_counter() - began)
            time.sleep(0.001)
        assert slowest < {0.5 * slowdown()}, slowest
        print("fine")
    """
    if trouble == "hangs":
        server.hang = 30
    server.status = 503 if trouble == "refuses" else 200
    env = {"CLEVAGENT_ENDPOINT": "http://127.0.0.1:9"} if trouble == "down" else {}
    if trouble == "nonsense":
        server.on_beat = lambda beat: {"warning": [1], "incident": "what", "hold": {}, "reason": 7}
    began = time.monotonic()
    assert run(program, code, env=env) == FINE
    assert time.monotonic() - began < 8 * slowdown()


@pytest.mark.parametrize("background", [False, True])
def test_stop_interrupts_the_program(program: Program, server: FakeServer, background: bool) -> None:
    verdict = {"warning": "loop_detected", "reason": "the same search 14 times", "incident": {"id": 1}}
    server.on_beat = lambda beat: verdict if beat.get("message") == "ready" else None
    loop = "for _ in range(600): time.sleep(0.05)" if background else "time.sleep(30)"
    code = f"""
        import signal, time, clevagent
        if {background}:  # as a shell's `&` starts it
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        clevagent.init(on_loop="stop")
        try:
            clevagent.ping(message="ready")
            {loop}
        except KeyboardInterrupt:
            print("interrupted")
        finally:
            print("fine")
    """
    assert run(program, code) == "interrupted\nfine\n"
    assert statuses(server)[-1] == "shutdown"
    assert "stopping: the same search 14 times" in [beat.get("message") for beat in server.beats]


STOPS = {"warning": "loop_detected", "reason": "the same search 14 times", "incident": {"id": 1}}


def test_signal_lost_before_a_sleep_is_repeated(program: Program, server: FakeServer) -> None:
    """Python notes such a signal and sleeps on; the test simulates it with a first signal that never arrives."""
    server.on_beat = lambda beat: STOPS if beat.get("message") == "ready" else None
    code = """
        import signal, time, clevagent
        sent, send = [], signal.pthread_kill
        def lost(*one):
            sent.append(one)
            if len(sent) > 1:
                send(*one)
        signal.pthread_kill = lost
        clevagent.init(on_loop="stop")
        try:
            clevagent.ping(message="ready")
            time.sleep(30)
        except KeyboardInterrupt:
            assert len(sent) > 1
            print("fine")
    """
    assert run(program, code) == FINE


def test_interrupted_program_may_clean_up(program: Program, server: FakeServer) -> None:
    server.on_beat = lambda beat: STOPS if beat.get("message") == "ready" else None
    code = """
        import time, clevagent
        clevagent.init(on_loop="stop")
        try:
            clevagent.ping(message="ready")
            time.sleep(30)
        except KeyboardInterrupt:
            time.sleep(1)
            print("fine")
    """
    assert run(program, code) == FINE


def test_force_stop_kills_after_the_grace(program: Program, server: FakeServer) -> None:
    verdict = {"warning": "cost_exceeded", "reason": "$30 of $25", "incident": {"id": 1}}
    server.on_beat = lambda beat: verdict if beat.get("message") == "ready" else None
    code = """
        import time, clevagent
        clevagent.init(on_cost_exceeded="force_stop", stop_grace=2)
        while True:
            try:
                clevagent.ping(message="ready")
                time.sleep(60)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
    """
    ended = program.run(code)
    assert (ended.returncode, ended.stdout) == (1, "interrupted\n")


def test_forked_child_reports_only_its_own_work(program: Program, server: FakeServer) -> None:
    code = """
        import os, clevagent
        clevagent.init()
        clevagent.log_cost(1, 1)
        if os.fork() == 0:
            clevagent.log_cost(10, 10)
            raise SystemExit
        os.wait()
        clevagent.log_cost(100, 100)
        print("fine")
    """
    assert run(program, code) == FINE
    assert (server.tokens(), int(server.spent())) == (111, 111)
    assert statuses(server).count("shutdown") == 1
    assert len({beat["instance"] for beat in server.beats}) == 2


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_workers_report_their_work(program: Program, server: FakeServer, method: str) -> None:
    code = f"""
        import multiprocessing, clevagent
        def work(cost):
            if "{method}" != "fork":
                clevagent.init(report_crashes=False)
            clevagent.log_cost(1, cost)
        if __name__ == "__main__":
            clevagent.init()
            context = multiprocessing.get_context("{method}")
            workers = [context.Process(target=work, args=(cost,)) for cost in (1, 10)]
            for worker in workers: worker.start()
            for worker in workers: worker.join()
            print("fine")
    """
    assert run(program, code) == FINE
    assert int(server.spent()) == 11


def test_daemonized_child_becomes_the_agent(program: Program, server: FakeServer) -> None:
    code = """
        import os, time, clevagent
        clevagent.init(interval=1)
        if os.fork():
            os._exit(0)
        time.sleep(0.3)
        clevagent.ping(message="a daemon now")
        clevagent.shutdown()
    """
    with program.start(code) as process:
        process.wait(PATIENCE)
        server.wait_for(lambda: "shutdown" in statuses(server))
    assert "a daemon now" in [beat.get("message") for beat in server.beats]
    assert statuses(server).count("shutdown") == 1


def test_concurrent_reports_lose_nothing(program: Program, server: FakeServer) -> None:
    code = """
        import threading, clevagent
        clevagent.init()
        def work():
            for number in range(1000):
                clevagent.log_cost(1, 0.01)
                with clevagent.iteration(), clevagent.tool("search", {"q": number}):
                    pass
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print("fine")
    """
    assert run(program, code) == FINE
    assert (server.tokens(), int(server.spent())) == (8000, 80)
    assert sum(beat.get("tool_calls", 0) for beat in server.beats) == 8000
    assert max(beat.get("iteration_count", 0) for beat in server.beats) == 8000


def test_signal_handler_may_report_during_a_report(program: Program, server: FakeServer) -> None:
    code = """
        import os, signal, clevagent
        clevagent.init()
        signal.signal(signal.SIGALRM, lambda *args: clevagent.ping(message="tick", tokens_used=1))
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)
        for _ in range(20000):
            clevagent.ping(message="tock", tokens_used=1)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print("fine")
    """
    assert run(program, code) == FINE
    assert server.tokens() > 20_000


def test_unknown_arguments_warn_and_never_raise(program: Program, server: FakeServer) -> None:
    code = """
        import warnings, clevagent
        clevagent.init(api_kee="x", colour="red", interval="often", on_loop="explode", cost_limit_usd="much")
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            clevagent.init(colour="red")
        assert "colour" in str(seen[0].message), seen
        clevagent.ping("splendid", tokens_used="many", cost_usd=float("nan"), custom={1: object()}, iteration_count=-4)
        clevagent.log_tool_call(None, args={("a",): object()}, ms="long")
        clevagent.log_usage(model=None, input_tokens=-5)
        with clevagent.waiting("approval", until="tomorrow"):
            pass
        assert clevagent.flush()
        print("fine")
    """
    assert run(program, code) == FINE
    assert server.calls()[0]["name"] == "None"


@pytest.mark.parametrize(
    ("env", "why"), [({"CLEVAGENT_API_KEY": ""}, "no API key"), ({"CLEVAGENT_ENDPOINT": "here"}, "address")]
)
def test_missing_settings_warn_and_disable_reporting(
    program: Program, server: FakeServer, env: dict[str, str], why: str
) -> None:
    code = f"""
        import warnings, clevagent
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            clevagent.init()
        assert "{why}" in str(seen[0].message)
        clevagent.ping()
        assert not clevagent.flush() and not clevagent.should_stop()
        with clevagent.iteration(), clevagent.tool("search") as call, clevagent.waiting("x"):
            call.result = 1
        clevagent.shutdown()
        print("fine")
    """
    assert run(program, code, env=env) == FINE
    assert server.requests == []


def test_second_init_replaces_the_first(program: Program, server: FakeServer) -> None:
    code = """
        import clevagent
        clevagent.init(agent="one"); clevagent.log_cost(1, 1)
        clevagent.init(agent="two"); clevagent.log_cost(1, 10)
        print("fine")
    """
    assert run(program, code) == FINE
    assert [(beat["agent"], beat["status"]) for beat in server.beats if beat["status"] == "shutdown"] == [
        ("one", "shutdown"),
        ("two", "shutdown"),
    ]
    assert sum(beat.get("cost_usd", 0) for beat in server.beats_of("two")) == 10


def test_spool_survives_kill_9(program: Program, server: FakeServer) -> None:
    server.status = 503
    code = """
        import os, pathlib, time, clevagent
        clevagent.init(spool="spool")
        clevagent.ping(cost_usd=0.5)
        while not any(b"cost_usd" in path.read_bytes() for path in pathlib.Path().glob("spool.*")):
            time.sleep(0.01)
        os.kill(os.getpid(), 9)
    """
    assert program.run(code).returncode == -9
    server.status = 200
    assert run(program, "import clevagent; clevagent.init(spool='spool'); print('fine')") == FINE
    assert float(server.spent()) == 0.5


def test_import_is_light(program: Program) -> None:
    code = """
        import sys
        import clevagent
        heavy = {"asyncio", "urllib.request", "multiprocessing", "clevagent.runner", "clevagent.testing"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
        print("fine")
    """
    assert run(program, code) == FINE
