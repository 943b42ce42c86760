"""The client never keeps a process alive, changes how it ends or disturbs it, and says how it ended."""

from __future__ import annotations

import json
import signal
import stat
from pathlib import Path

import pytest
from clevagent.testing import FakeServer

from tests.client_sdk.conftest import Program
from tests.client_sdk.typescript.conftest import Script, statuses
from tests.client_sdk.typescript.npm import RUNTIMES
from tests.flows.installation import wait_until

pytestmark = pytest.mark.live

EVERY_RUNTIME = pytest.mark.parametrize("runtime", RUNTIMES)


@EVERY_RUNTIME
def test_process_ends_without_being_told(script: Script, server: FakeServer, runtime: str) -> None:
    ended = script.run('clevagent.init(); clevagent.ping("ok", "hi")', runtime)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert statuses(server)[-1] == "shutdown"
    assert [beat["message"] for beat in server.beats if "message" in beat] == ["hi"]
    assert script.unsent() == []


@EVERY_RUNTIME
def test_exit_is_reported_and_keeps_its_status(script: Script, server: FakeServer, runtime: str) -> None:
    ended = script.run('clevagent.init(); clevagent.ping("ok", "hi"); process.exit(3)', runtime)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "", "")
    assert [(beat["status"], beat["message"]) for beat in server.beats] == [("shutdown", "hi")]


@EVERY_RUNTIME
def test_crash_is_reported(script: Script, server: FakeServer, runtime: str) -> None:
    code = 'clevagent.init(); setTimeout(() => { throw new TypeError("boom, password=hush1234") }, 1)'
    ended = script.run(code, runtime)
    assert ended.returncode == 1
    assert "boom" in ended.stderr
    [crash] = [beat for beat in server.beats if beat["status"] == "error"]
    assert (crash["message"], statuses(server)[-1]) == ("CRASH: TypeError: boom, password=[hidden]", "error")
    data = json.loads(crash["custom_data"])
    assert data["crash"] is True
    assert "agent.mjs" in data["traceback"]
    assert "hush1234" not in data["traceback"]


@pytest.mark.parametrize("runtime", ["node", "newest-node", "deno"])
def test_rejection_is_reported(script: Script, server: FakeServer, runtime: str) -> None:
    ended = script.run('clevagent.init(); setTimeout(() => Promise.reject(new TypeError("boom")), 1)', runtime)
    assert ended.returncode == 1
    assert server.beats[-1]["message"] == "CRASH: TypeError: boom"


def test_handled_exception_is_no_end(script: Script, server: FakeServer) -> None:
    code = """
        process.on("uncaughtException", () => {});
        clevagent.init();
        setTimeout(() => { throw new TypeError("boom") }, 1);
        setTimeout(() => {}, 50);
    """
    assert script.run(code).returncode == 0
    assert [status for status in statuses(server) if status != "ok"] == ["error", "shutdown"]


@EVERY_RUNTIME
def test_hanging_server_delays_the_end_briefly(script: Script, server: FakeServer, runtime: str) -> None:
    """The process ends although the server has not answered; a request alone would wait ten seconds."""
    server.hang = 3600
    ended = script.run('clevagent.init(); clevagent.ping("ok", "hi", { costUsd: 0.5 })', runtime)
    assert (ended.returncode, ended.stderr) == (0, "")
    [file] = script.unsent()
    stored = [json.loads(line) for line in file.read_text().splitlines()]
    assert sum(beat.get("cost_usd", 0) for beat in stored) == 0.5
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("end", ["", "process.exit(0)"])
def test_next_process_sends_what_could_not_be_sent(script: Script, server: FakeServer, end: str) -> None:
    code = f'clevagent.init(); clevagent.ping("ok", "first", {{ costUsd: 0.5 }}); {end}'
    assert script.run(code, CLEVAGENT_ENDPOINT="http://127.0.0.1:9").stderr == ""
    assert len(script.unsent()) == 1
    script.run("clevagent.init(); await clevagent.flush()")
    assert script.unsent() == []
    assert float(server.spent()) == 0.5
    assert {"first"} == {beat["message"] for beat in server.beats if "message" in beat}


@EVERY_RUNTIME
def test_what_is_unsent_survives_a_kill(script: Script, server: FakeServer, runtime: str) -> None:
    code = 'clevagent.init(); clevagent.ping("ok", "first", { costUsd: 0.5 }); setInterval(() => {}, 1000)'
    with script.start(code, runtime, CLEVAGENT_ENDPOINT="http://127.0.0.1:9") as process:
        try:
            [file] = wait_until(script.unsent, "it is stored")
            wait_until(lambda: file.read_text().endswith("\n"), "it is complete")
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            script.run("clevagent.init(); await clevagent.flush()")
            assert server.spent() == 0  # the process may still send it
        finally:
            process.kill()
        process.communicate()
    script.run("clevagent.init(); await clevagent.flush()")
    assert float(server.spent()) == 0.5
    assert script.unsent() == []


def test_python_sends_what_typescript_could_not(
    script: Script, program: Program, server: FakeServer, tmp_path: Path
) -> None:
    script.run('clevagent.init(); clevagent.ping("ok", "first")', CLEVAGENT_ENDPOINT="http://127.0.0.1:9")
    assert program.run("import clevagent; clevagent.init(); clevagent.flush()").returncode == 0
    assert "first" in [beat.get("message") for beat in server.beats]
    assert script.unsent() == []


@EVERY_RUNTIME
def test_sigterm_is_reported_if_asked_for(script: Script, server: FakeServer, runtime: str) -> None:
    code = 'clevagent.init({ handleSignals: true }); setInterval(() => {}, 1000); console.log("ready")'
    with script.start(code, runtime) as process:
        assert process.stdout
        process.stdout.readline()
        server.wait_for(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
    assert statuses(server)[-1] == "shutdown"


def test_sigterm_is_left_alone_otherwise(script: Script, server: FakeServer) -> None:
    with script.start("clevagent.init(); setInterval(() => {}, 1000)") as process:
        server.wait_for(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
    assert statuses(server) == ["ok"]


def test_own_listener_decides_about_sigterm(script: Script, server: FakeServer) -> None:
    code = """
        clevagent.init({ handleSignals: true });
        const timer = setInterval(() => {}, 1000);
        process.on("SIGTERM", () => setTimeout(() => process.exit(7), 20));
    """
    with script.start(code) as process:
        server.wait_for(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 7
    assert statuses(server)[-1] == "shutdown"


def test_nothing_throws_and_nothing_is_sent_without_a_key(script: Script, server: FakeServer) -> None:
    code = """
        const bad = { toString() { throw new Error("no") }, toJSON() { throw new Error("no") } };
        const calls = () => {
          clevagent.ping(bad, bad, { custom: bad, costUsd: bad, tokensUsed: NaN, memoryMb: -1 });
          clevagent.ping("ok", "x", null);
          clevagent.logUsage({ model: bad, inputTokens: "many" }); clevagent.logUsage();
          clevagent.logToolCall(bad, { args: bad, result: 10n ** 30n }); clevagent.tool(bad, bad).end(bad);
          clevagent.waiting(bad, bad).end(); clevagent.iteration().fail(bad); clevagent.logPrompt(bad);
          clevagent.logIteration(bad); clevagent.watch(bad); clevagent.watch(null); clevagent.shouldStop();
        };
        calls();
        clevagent.init({ apiKey: "", labels: 7 }); calls();
        clevagent.init({ apiKey: "cv_test", labels: { a: bad }, interval: bad, onLoop: "never", other: 1 }); calls();
        await clevagent.flush(); await clevagent.shutdown(); calls();
    """
    ended = script.run(code, CLEVAGENT_API_KEY="")
    assert ended.returncode == 0, ended.stderr
    assert "no API key" in ended.stderr
    assert "does not know other" in ended.stderr
    assert server.beats


def test_what_the_work_throws_and_returns_stays(script: Script, server: FakeServer) -> None:
    code = """
        clevagent.init();
        const error = new Error("mine");
        const failing = () => { throw error };
        const rejecting = async () => { throw error };
        const { iteration, tool, waiting } = clevagent;
        for (const wrap of [iteration, (work) => tool("t", {}, work), (work) => waiting("w", 1, work)]) {
          if (wrap(() => 7) !== 7 || (await wrap(async () => 8)) !== 8) throw new Error("another result");
          try { wrap(failing); process.exit(1) } catch (caught) { if (caught !== error) throw caught }
          try { await wrap(rejecting); process.exit(1) } catch (caught) { if (caught !== error) throw caught }
        }
        const monitored = clevagent.monitor(function (by) { return this.start + by });
        if (monitored.call({ start: 2 }, 3) !== 5) throw new Error("another this");
    """
    ended = script.run(code)
    assert (ended.returncode, ended.stderr) == (0, "")
    calls = server.calls()
    assert [call["ok"] for call in calls] == [True, True, False, False]
    assert server.beats[-1]["iteration_count"] == 5


def test_reactions_stop_the_program(script: Script, server: FakeServer) -> None:
    server.answer = {"warning": "loop_detected", "reason": "the same call 9 times", "incident": {"id": 3, "url": "u"}}
    code = """
        clevagent.init({ onLoop: (reason) => { console.log(JSON.stringify(reason)); throw new Error("mine") } });
        await clevagent.flush();
        clevagent.init({ onLoop: "flag" });
        await clevagent.flush();
        console.log(clevagent.shouldStop());
        clevagent.init({ onLoop: "stop" });
        setInterval(() => {}, 1000);
    """
    ended = script.run(code)
    reason, flag = ended.stdout.splitlines()
    assert json.loads(reason) == {"kind": "loop", "text": "the same call 9 times", "incident": 3, "url": "u"}
    assert (flag, ended.returncode) == ("true", -signal.SIGINT)
