"""Commands: executed once, only for named targets, and reported until confirmed; a stop lasts."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from clevagent.runner.commands import CommandExecutor
from clevagent.runner.state import CommandRecord, Store
from clevagent.runner.target import parse
from clevagent.testing import FakeServer
from clevagent.transport import Answer

from tests.client_sdk.runner.conftest import Runners, command
from tests.client_sdk.runner.scripted import Scripted, shown
from tests.client_sdk.runner.test_watch import ON_DOWN, A, polled, says


class TestOnce:
    def test_command_is_executed_and_reported(self, runners: Runners, server: FakeServer, systemctl: Scripted) -> None:
        server.commands.append(command(7, reason="No progress for 47 minutes"))
        runners.start(A)
        server.wait_for(lambda: server.results)
        assert server.results == [(7, {"status": "completed", "message": "systemctl restarted a.service"})]
        assert systemctl.called("restart") == ["--no-ask-password restart -- a.service"]

    def test_repeated_command_is_executed_once(self, runners: Runners, server: FakeServer, systemctl: Scripted) -> None:
        server.commands += [command(7), command(7)]
        runners.start(A)
        server.wait_for(lambda: server.results)
        server.commands.append(command(7))
        polled(server)
        runners.again(A)
        server.commands.append(command(7))
        polled(server)
        assert len(systemctl.called("restart")) == 1
        assert len(server.results) == 1

    def test_failed_command_reports_its_reason(self, runners: Runners, server: FakeServer, systemctl: Scripted) -> None:
        systemctl.answers("restart", error="Job for a.service failed.", code=1)
        server.commands.append(command(7))
        runners.start(A)
        server.wait_for(lambda: server.results)
        assert server.results == [(7, {"status": "failed", "message": "systemctl: Job for a.service failed."})]

    def test_bug_in_a_backend_fails_the_command(
        self, runners: Runners, server: FakeServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("clevagent.runner.backends.systemd.restart", lambda target, timeout: 1 / 0)
        server.commands.append(command(7))
        runners.start(A)
        server.wait_for(lambda: server.results)
        assert server.results[0][1]["status"] == "failed"
        assert "ZeroDivisionError" in server.results[0][1]["message"]
        server.commands.append(command(8, "stop"))
        server.wait_for(lambda: len(server.results) == 2)
        assert server.results[1][1]["status"] == "completed"

    def test_hanging_restart_delays_nothing_else(
        self, runners: Runners, server: FakeServer, systemctl: Scripted
    ) -> None:
        systemctl.answers("restart", of="a.service", sleep=2)
        server.commands += [command(7), command(8, target="b.service")]
        runners.start(A, "systemd:b.service")
        server.wait_for(lambda: server.results)
        assert server.results == [(8, {"status": "completed", "message": "systemctl restarted b.service"})]
        begun = len(server.beats_of("bot"))
        server.wait_for(lambda: len(server.beats_of("bot")) > begun + 3)
        assert len(server.results) == 1
        server.wait_for(lambda: len(server.results) == 2)

    def test_concurrent_command_is_refused(self, runners: Runners, server: FakeServer, systemctl: Scripted) -> None:
        systemctl.answers("restart", sleep=1)
        server.commands += [command(7), command(8)]
        runners.start(A)
        server.wait_for(lambda: len(server.results) == 2)
        assert server.results[0] == (
            8,
            {"status": "failed", "message": "This runner is already restarting or stopping it"},
        )
        assert len(systemctl.called("restart")) == 1


class TestRefusals:
    @pytest.mark.parametrize(
        ("item", "says"),
        [
            (command(7, target="ssh.service"), "systemd:ssh.service is not registered with this runner"),
            ({**command(7), "type": "docker"}, "docker:a.service is not registered with this runner"),
            (command(7, target="a.service; reboot"), "is not registered with this runner"),
            (command(7, "rm -rf /"), "rm -rf / is not supported; this runner can restart and stop"),
            (command(7, expires_in=0), "The command had expired"),
        ],
    )
    def test_unknown_target_is_rejected(
        self, runners: Runners, server: FakeServer, systemctl: Scripted, item: dict[str, Any], says: str
    ) -> None:
        server.commands.append(item)
        runners.start(A)
        server.wait_for(lambda: server.results)
        assert server.results[0][1]["status"] == "rejected"
        assert says in server.results[0][1]["message"]
        assert {call.split()[0] for call in systemctl.calls} == {"show"}

    def test_rejection_is_repeated_when_offered_again(self, runners: Runners, server: FakeServer) -> None:
        runners.start(A)
        server.commands.append(command(7, target="other.service"))
        server.wait_for(lambda: len(server.results) == 1)
        server.commands.append(command(7, target="other.service"))
        server.wait_for(lambda: len(server.results) == 2)

    @pytest.mark.parametrize("item", [None, 1, "x", [], {}, {"id": "7"}, {**command(7), "target": None}])
    def test_malformed_command_is_skipped(self, runners: Runners, server: FakeServer, item: Any) -> None:
        server.commands += [item, command(8)]
        runners.start(A)
        server.wait_for(lambda: server.results)
        assert [number for number, _ in server.results] == [8]


class TestStop:
    def test_stop_prevents_restart_on_down(self, runners: Runners, server: FakeServer, systemctl: Scripted) -> None:
        server.may_restart = (201, command(99))
        server.commands.append(command(7, "stop"))
        runner = runners.start(ON_DOWN)
        server.wait_for(lambda: server.results)
        systemctl.answers("show", shown("failed", Result="exit-code"))
        begun = len(server.beats)
        server.wait_for(lambda: runner.store.target("systemd:a.service").held_seen)
        server.wait_for(lambda: len(server.beats) > begun + 4)
        assert {beat["status"] for beat in server.beats[begun + 2 :]} == {"shutdown"}
        assert not systemctl.called("restart")

    def test_stop_survives_a_runner_restart(self, runners: Runners, server: FakeServer, systemctl: Scripted) -> None:
        server.commands.append(command(7, "stop"))
        runners.start(ON_DOWN)
        server.wait_for(lambda: server.results)
        systemctl.answers("show", shown("failed"))
        says(server, "shutdown")
        runners.again(ON_DOWN)
        begun = len(server.beats)
        server.wait_for(begun + 4)
        assert {beat["status"] for beat in server.beats[begun:]} == {"shutdown"}

    def test_manual_start_ends_a_stop(self, runners: Runners, server: FakeServer, systemctl: Scripted) -> None:
        server.commands.append(command(7, "stop"))
        runner = runners.start(A)
        server.wait_for(lambda: server.results)
        systemctl.answers("show", shown("inactive"))
        server.wait_for(lambda: runner.store.target("systemd:a.service").held_seen)
        systemctl.answers("show", shown())
        says(server, "ok")
        systemctl.answers("show", shown("failed"))
        says(server, "error")

    def test_outdated_check_does_not_end_a_stop(
        self, runners: Runners, server: FakeServer, systemctl: Scripted
    ) -> None:
        server.commands.append(command(7, "stop"))
        runner = runners.start(A)
        server.wait_for(lambda: server.results)
        # systemctl still reports active, as a slow supervisor would.
        begun = len(server.beats)
        server.wait_for(begun + 5)
        assert runner.store.target("systemd:a.service").held_at is not None
        assert server.beats[-1]["status"] == "shutdown"

    def test_restart_command_ends_a_stop(self, runners: Runners, server: FakeServer, systemctl: Scripted) -> None:
        server.commands.append(command(7, "stop"))
        runners.start(A)
        server.wait_for(lambda: server.results)
        server.commands.append(command(8))
        server.wait_for(lambda: len(server.results) == 2)
        says(server, "ok")

    def test_failed_stop_has_no_effect(self, runners: Runners, server: FakeServer, systemctl: Scripted) -> None:
        systemctl.answers("stop", error="no", code=1)
        server.commands.append(command(7, "stop"))
        runners.start(A)
        server.wait_for(lambda: server.results)
        says(server, "ok")


class Scribe:
    """A server with scripted answers."""

    problem = ""

    def __init__(self, *answers: Answer | None) -> None:
        self.answers, self.asked = list(answers), 0

    def ask(self, method: str, path: str, body: Any = None) -> Answer | None:
        self.asked += 1
        return self.answers.pop(0)


def desk(*answers: Answer | None) -> tuple[CommandExecutor, Scribe, Store]:
    store, scribe = Store(None), Scribe(*answers)
    with store.changing() as kept:
        kept.commands["7"] = CommandRecord(7, "restart", "systemd", "a.service", 2e9, "completed", "done")
    target = parse(A)
    made = CommandExecutor(scribe, store, lambda: {target.key: target}, threading.Event(), lambda target: None)  # type: ignore[arg-type]
    return made, scribe, store


class TestResults:
    @pytest.mark.parametrize("status", [200, 201, 204, 404, 409, 410, 422])
    def test_final_statuses_settle_a_result(self, status: int) -> None:
        made, scribe, store = desk(Answer(status))
        assert made.report() == (None, True)
        assert store.kept.commands["7"].done
        assert made.report() == (None, True)
        assert scribe.asked == 1

    @pytest.mark.parametrize("answer", [None, Answer(500), Answer(503), Answer(401), Answer(403), Answer(400)])
    def test_other_statuses_are_retried(self, answer: Answer | None) -> None:
        made, _, store = desk(answer, Answer(200))
        assert made.report() == (None, False)
        assert not store.kept.commands["7"].done
        assert made.report() == (None, True)

    def test_report_returns_retry_after(self) -> None:
        made, _, _ = desk(Answer(429, retry_after=30.0))
        assert made.report() == (30.0, False)

    def test_malformed_command_list_is_logged(
        self, runners: Runners, server: FakeServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = server._answer
        wrong = [True]

        def answered(request: Any) -> tuple[int, Any]:
            if wrong and request.path.endswith("/commands"):
                return 200, {"detail": "not a list"}
            return plain(request)

        monkeypatch.setattr(server, "_answer", answered)
        runners.start(A)
        server.wait_for(lambda: "a list of commands" in caplog.text)
        wrong.clear()
        server.commands.append(command(7))
        server.wait_for(lambda: server.results)

    def test_result_of_the_last_command_is_reported(
        self, runners: Runners, server: FakeServer, systemctl: Scripted
    ) -> None:
        """The runner ends while a command is running, when the reporting thread has already returned."""
        systemctl.answers("restart", sleep=0.5)
        server.commands.append(command(7))
        runner = runners.start(A)
        server.wait_for(lambda: systemctl.called("restart"))
        runner.end()
        assert [number for number, _ in server.results] == [7]

    def test_outage_loses_no_result(self, runners: Runners, server: FakeServer, systemctl: Scripted) -> None:
        systemctl.answers("restart", sleep=0.3)
        server.commands.append(command(7))
        runner = runners.start(A)
        server.wait_for(lambda: systemctl.called("restart"))
        server.status = 503
        server.wait_for(lambda: runner.store.kept.commands["7"].status)
        server.status = 200
        server.wait_for(lambda: server.results)
        polled(server)
        assert [number for number, _ in server.results] == [7]
