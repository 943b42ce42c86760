"""Commands: once, only what is named, answered until the server has it, and a stop holds."""

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
    def test_it_is_carried_out_and_answered(self, runners: Runners, server: FakeServer, systemctl: Scripted) -> None:
        server.commands.append(command(7, reason="No progress for 47 minutes"))
        runners.start(A)
        server.wait_for(lambda: server.results)
        assert server.results == [(7, {"status": "completed", "message": "systemctl restarted a.service"})]
        assert systemctl.called("restart") == ["--no-ask-password restart -- a.service"]

    def test_the_same_one_again_is_not_carried_out_again(
        self, runners: Runners, server: FakeServer, systemctl: Scripted
    ) -> None:
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

    def test_a_failure_is_answered_with_its_reason(
        self, runners: Runners, server: FakeServer, systemctl: Scripted
    ) -> None:
        systemctl.answers("restart", error="Job for a.service failed.", code=1)
        server.commands.append(command(7))
        runners.start(A)
        server.wait_for(lambda: server.results)
        assert server.results == [(7, {"status": "failed", "message": "systemctl: Job for a.service failed."})]

    def test_a_fault_of_the_runner_is_a_failure_and_leaves_the_target_free(
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

    def test_a_hung_restart_delays_no_other_and_not_the_beats_of_its_own_target(
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

    def test_a_second_one_for_a_target_that_is_being_restarted_is_refused(
        self, runners: Runners, server: FakeServer, systemctl: Scripted
    ) -> None:
        systemctl.answers("restart", sleep=1)
        server.commands += [command(7), command(8)]
        runners.start(A)
        server.wait_for(lambda: len(server.results) == 2)
        assert server.results[0] == (
            8,
            {"status": "failed", "message": "Another restart or stop of it is under way in this runner"},
        )
        assert len(systemctl.called("restart")) == 1


class TestRefusals:
    @pytest.mark.parametrize(
        ("item", "says"),
        [
            (command(7, target="ssh.service"), "systemd:ssh.service is not registered with this runner"),
            ({**command(7), "type": "docker"}, "docker:a.service is not registered with this runner"),
            (command(7, target="a.service; reboot"), "is not registered with this runner"),
            (command(7, "rm -rf /"), "rm -rf / is nothing that this runner does; it can restart and stop"),
            (command(7, expires_in=0), "The command came after its expiry"),
        ],
    )
    def test_it_is_rejected_and_nothing_is_done(
        self, runners: Runners, server: FakeServer, systemctl: Scripted, item: dict[str, Any], says: str
    ) -> None:
        server.commands.append(item)
        runners.start(A)
        server.wait_for(lambda: server.results)
        assert server.results[0][1]["status"] == "rejected"
        assert says in server.results[0][1]["message"]
        assert {call.split()[0] for call in systemctl.calls} == {"show"}

    def test_one_that_is_not_ours_is_answered_again_when_it_is_offered_again(
        self, runners: Runners, server: FakeServer
    ) -> None:
        runners.start(A)
        server.commands.append(command(7, target="other.service"))
        server.wait_for(lambda: len(server.results) == 1)
        server.commands.append(command(7, target="other.service"))
        server.wait_for(lambda: len(server.results) == 2)

    @pytest.mark.parametrize("item", [None, 1, "x", [], {}, {"id": "7"}, {**command(7), "target": None}])
    def test_what_cannot_be_read_is_left_and_what_follows_is_done(
        self, runners: Runners, server: FakeServer, item: Any
    ) -> None:
        server.commands += [item, command(8)]
        runners.start(A)
        server.wait_for(lambda: server.results)
        assert [number for number, _ in server.results] == [8]


class TestStop:
    def test_it_holds_against_the_runners_own_restart_and_is_no_error(
        self, runners: Runners, server: FakeServer, systemctl: Scripted
    ) -> None:
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

    def test_it_holds_over_a_restart_of_the_runner(
        self, runners: Runners, server: FakeServer, systemctl: Scripted
    ) -> None:
        server.commands.append(command(7, "stop"))
        runners.start(ON_DOWN)
        server.wait_for(lambda: server.results)
        systemctl.answers("show", shown("failed"))
        says(server, "shutdown")
        runners.again(ON_DOWN)
        begun = len(server.beats)
        server.wait_for(begun + 4)
        assert {beat["status"] for beat in server.beats[begun:]} == {"shutdown"}

    def test_a_person_who_starts_it_ends_the_hold(
        self, runners: Runners, server: FakeServer, systemctl: Scripted
    ) -> None:
        server.commands.append(command(7, "stop"))
        runner = runners.start(A)
        server.wait_for(lambda: server.results)
        systemctl.answers("show", shown("inactive"))
        server.wait_for(lambda: runner.store.target("systemd:a.service").held_seen)
        systemctl.answers("show", shown())
        says(server, "ok")
        systemctl.answers("show", shown("failed"))
        says(server, "error")

    def test_a_look_from_before_the_stop_does_not_end_the_hold(
        self, runners: Runners, server: FakeServer, systemctl: Scripted
    ) -> None:
        server.commands.append(command(7, "stop"))
        runner = runners.start(A)
        server.wait_for(lambda: server.results)
        # systemctl still says active, as a supervisor that is slow would.
        begun = len(server.beats)
        server.wait_for(begun + 5)
        assert runner.store.target("systemd:a.service").held_at is not None
        assert server.beats[-1]["status"] == "shutdown"

    def test_a_restart_by_command_ends_the_hold(
        self, runners: Runners, server: FakeServer, systemctl: Scripted
    ) -> None:
        server.commands.append(command(7, "stop"))
        runners.start(A)
        server.wait_for(lambda: server.results)
        server.commands.append(command(8))
        server.wait_for(lambda: len(server.results) == 2)
        says(server, "ok")

    def test_a_stop_that_failed_holds_nothing(self, runners: Runners, server: FakeServer, systemctl: Scripted) -> None:
        systemctl.answers("stop", error="no", code=1)
        server.commands.append(command(7, "stop"))
        runners.start(A)
        server.wait_for(lambda: server.results)
        says(server, "ok")


class Scribe:
    """A server whose answers are given in advance."""

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
    def test_one_that_the_server_has_or_will_never_have_is_settled(self, status: int) -> None:
        made, scribe, store = desk(Answer(status))
        assert made.report() == (None, True)
        assert store.kept.commands["7"].done
        assert made.report() == (None, True)
        assert scribe.asked == 1

    @pytest.mark.parametrize("answer", [None, Answer(500), Answer(503), Answer(401), Answer(403), Answer(400)])
    def test_every_other_one_is_reported_again(self, answer: Answer | None) -> None:
        made, _, store = desk(answer, Answer(200))
        assert made.report() == (None, False)
        assert not store.kept.commands["7"].done
        assert made.report() == (None, True)

    def test_the_servers_time_is_waited_for(self) -> None:
        made, _, _ = desk(Answer(429, retry_after=30.0))
        assert made.report() == (30.0, False)

    def test_an_answer_that_is_no_list_is_said_and_ends_nothing(
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
        server.wait_for(lambda: "no list of commands" in caplog.text)
        wrong.clear()
        server.commands.append(command(7))
        server.wait_for(lambda: server.results)

    def test_an_outage_of_the_server_loses_no_result(
        self, runners: Runners, server: FakeServer, systemctl: Scripted
    ) -> None:
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
