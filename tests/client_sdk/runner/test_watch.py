"""Reports about a target, and restarts without a command."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

import pytest
from clevagent.runner import backends, budget
from clevagent.runner.backends import systemd
from clevagent.runner.backends.base import Observation
from clevagent.runner.errors import ConfigError
from clevagent.runner.target import Target, parse
from clevagent.testing import FakeServer

from tests.client_sdk.runner.conftest import Runners, command
from tests.client_sdk.runner.scripted import Scripted, shown
from tests.flows.installation import slowdown

A = "systemd:a.service=bot"
ON_DOWN = replace(parse(A), restart_on_down=True)
FAILED = shown("failed", Result="watchdog", NRestarts=3)


def last(server: FakeServer) -> dict[str, Any]:
    return server.beats[-1]


def says(server: FakeServer, status: str) -> dict[str, Any]:
    """Return the next heartbeat with this status."""
    begun = len(server.beats)
    found: dict[str, Any] = server.wait_for(
        lambda: next((beat for beat in server.beats[begun:] if beat["status"] == status), None)
    )
    return found


def polled(server: FakeServer, times: int = 3) -> None:
    """Wait until the runner has polled for commands this many more times."""
    begun = len(server.requests)

    def polls() -> int:
        return sum(each.path.endswith("/commands") and each.method == "GET" for each in server.requests[begun:])

    server.wait_for(lambda: polls() >= times)


def asked(server: FakeServer) -> list[Any]:
    """Requests for permission to restart."""
    return [each.body for each in server.requests if each.method == "POST" and each.path.endswith("/commands")]


class TestReports:
    def test_running_target_reports_every_field(self, runners: Runners, server: FakeServer) -> None:
        runners.start(replace(parse(A), labels={"team": "x"}, progress_timeout=900))
        server.wait_for(2)
        first, second = server.beats[:2]
        assert {name: first[name] for name in ("agent", "status", "restart_type", "restart_target", "seq")} == {
            "agent": "bot",
            "status": "ok",
            "restart_type": "systemd",
            "restart_target": "a.service",
            "seq": 1,
        }
        assert (first["interval"], first["labels"], first["progress_timeout"]) == (0.1, {"team": "x"}, 900)
        assert first["evidence"]["ActiveState"] == "active"
        assert first["sdk"].startswith("clevagent-python/")
        assert first["instance"] == second["instance"]
        assert first["beat_id"] != second["beat_id"]
        assert "message" not in first
        assert "progress" not in first
        assert server.requests[0].headers["X-ClevAgent-Runner"] == "test"

    def test_stopped_target_is_an_error_with_a_reason(
        self, runners: Runners, server: FakeServer, systemctl: Scripted
    ) -> None:
        systemctl.answers("show", FAILED)
        runners.start(A)
        beat = says(server, "error")
        assert beat["message"] == "Not responding: systemd says failed (watchdog), restarted 3 times"
        assert beat["evidence"]["Result"] == "watchdog"

    def test_unknown_target_warns_and_is_not_restarted(
        self, runners: Runners, server: FakeServer, systemctl: Scripted
    ) -> None:
        systemctl.answers("show", error="Failed to connect to bus", code=1)
        runners.start(ON_DOWN)
        server.wait_for(3)
        assert {beat["status"] for beat in server.beats} == {"warning"}
        assert last(server)["message"].startswith("State unknown: ")
        assert not systemctl.called("restart")

    def test_bug_in_a_backend_is_unknown(
        self, runners: Runners, server: FakeServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runners.start(A)
        server.wait_for(1)

        def broken(target: Target, timeout: float) -> Observation:
            raise ZeroDivisionError("no")

        with monkeypatch.context() as patch:
            patch.setattr(systemd, "check", broken)
            assert "ZeroDivisionError" in says(server, "warning")["message"]
        says(server, "ok")

    def test_progress_comes_from_the_probe(
        self, runners: Runners, server: FakeServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Queue:
            looks = iter([None, True, False])

            def look(self, now: float) -> tuple[bool | None, dict[str, Any]]:
                return next(self.looks), {"queue": 47}

        monkeypatch.setattr("clevagent.runner.supervise.probe_of", lambda target: Queue())
        runners.start(A)
        server.wait_for(4)
        # The fourth check raises; reports must continue.
        assert [beat.get("progress") for beat in server.beats[:4]] == [None, True, False, None]
        assert server.beats[0]["evidence"]["queue"] == 47

    def test_hanging_check_delays_no_other_target(
        self, runners: Runners, server: FakeServer, systemctl: Scripted
    ) -> None:
        runners.start(A, "systemd:b.service")
        systemctl.answers("show", of="a.service", sleep=60)
        server.wait_for(lambda: len(server.beats_of("b.service")) > 8)
        assert server.beats_of("b.service")[-1]["status"] == "ok"

    def test_missing_target_is_a_startup_error(self, runners: Runners, systemctl: Scripted) -> None:
        systemctl.answers("show", shown("inactive", LoadState="not-found"))
        with pytest.raises(ConfigError, match=r"systemd has no unit a\.service"):
            runners.start(A)

    def test_target_that_disappears_is_unknown(self, runners: Runners, server: FakeServer, systemctl: Scripted) -> None:
        runners.start(A)
        server.wait_for(1)
        systemctl.answers("show", shown("inactive", LoadState="not-found"))
        assert "has no unit" in says(server, "warning")["message"]


class TestWithoutServer:
    def test_outage_ends_with_the_latest_state(self, runners: Runners, server: FakeServer, systemctl: Scripted) -> None:
        with FakeServer() as gone:
            port = gone.port
        runner = runners.start(A, endpoint=f"http://127.0.0.1:{port}")
        server.wait_for(lambda: len(systemctl.called("show")) > 3)
        systemctl.answers("show", FAILED)
        server.wait_for(lambda: runner.store.target("systemd:a.service").status == "error")
        with FakeServer(port=port) as back:
            back.wait_for(1)
            assert {beat["status"] for beat in back.beats} == {"error"}
            runners.end()

    def test_interval_is_restored_after_an_outage(self, runners: Runners, server: FakeServer) -> None:
        server.status = 503
        runners.start(A)
        server.wait_for(lambda: len(server.requests) > 40)
        server.status = 200
        server.wait_for(1)
        begun = time.monotonic()
        server.wait_for(len(server.beats) + 4)
        assert time.monotonic() - begun < 2 * slowdown()

    def test_retry_after_pauses_reports_not_checks(
        self, runners: Runners, server: FakeServer, systemctl: Scripted
    ) -> None:
        server.status, server.retry_after = 429, 60.0
        runners.start(A)
        server.wait_for(lambda: len(systemctl.called("show")) > 8)
        assert len([each for each in server.requests if each.path.endswith("/heartbeat")]) == 1
        assert len([each for each in server.requests if each.path.endswith("/commands")]) == 1

    @pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
    def test_no_answer_stops_the_watch(self, runners: Runners, server: FakeServer, status: int) -> None:
        server.status = status
        runner = runners.start(A)
        server.wait_for(lambda: len(server.requests) > 6)
        assert runner.is_healthy(time.monotonic())
        server.status = 200
        server.wait_for(1)

    def test_problem_is_logged_once(
        self, runners: Runners, server: FakeServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.status = 503
        runners.start(A)
        server.wait_for(lambda: len(server.requests) > 10)
        assert caplog.text.count("Could not report") == 1
        assert caplog.text.count("Cannot fetch commands") == 1


class TestRestartOnDown:
    @pytest.fixture(autouse=True)
    def failed(self, systemctl: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("clevagent.runner.watch.CONFIRM_DELAY", 0.1)
        systemctl.answers("show", FAILED)

    def test_restart_on_down_is_off_by_default(self, runners: Runners, server: FakeServer, systemctl: Scripted) -> None:
        runners.start(A)
        server.wait_for(4)
        assert not systemctl.called("restart")
        assert asked(server) == []

    def test_server_grants_a_restart(self, runners: Runners, server: FakeServer, systemctl: Scripted) -> None:
        server.may_restart = (201, command(31))
        runners.start(ON_DOWN)
        server.wait_for(lambda: server.results)
        assert asked(server)[0] == {
            "agent": "bot",
            "type": "systemd",
            "target": "a.service",
            "cause": "Not responding: systemd says failed (watchdog), restarted 3 times",
        }
        assert len(systemctl.called("restart")) == 1
        assert server.results[0][0] == 31

    def test_refusal_and_retry_after_are_respected(
        self, runners: Runners, server: FakeServer, systemctl: Scripted, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.may_restart = (409, {"error": {"code": "held", "message": "A person stopped it."}})
        runners.start(ON_DOWN)
        server.wait_for(6)
        assert len(asked(server)) == 1
        assert not systemctl.called("restart")
        assert "A person stopped it." in caplog.text

    def test_own_budget_applies_without_the_server(
        self,
        runners: Runners,
        server: FakeServer,
        systemctl: Scripted,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(budget, "DELAYS", (0, 0, 0))
        server.status = 503
        runners.start(ON_DOWN)
        server.wait_for(lambda: "gave up" in caplog.text)
        begun = len(server.requests)
        server.wait_for(lambda: len(server.requests) > begun + 8)
        assert len(systemctl.called("restart")) == 3
        loud = [record for record in caplog.records if record.levelno == logging.CRITICAL]
        assert len(loud) == 1
        assert "gave up: restarted 3 times within an hour" in loud[0].getMessage()

    def test_budget_survives_a_runner_restart(
        self, runners: Runners, server: FakeServer, systemctl: Scripted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(budget, "DELAYS", (3600, 3600, 3600))
        server.status = 503
        runners.start(ON_DOWN)
        server.wait_for(lambda: systemctl.called("restart"))
        runners.again(ON_DOWN)
        begun = len(server.requests)
        server.wait_for(lambda: len(server.requests) > begun + 8)
        assert len(systemctl.called("restart")) == 1

    def test_brief_downtime_is_confirmed_first(
        self, runners: Runners, server: FakeServer, systemctl: Scripted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("clevagent.runner.watch.CONFIRM_DELAY", 5.0)
        server.may_restart = (201, command(31))
        runners.start(ON_DOWN, interval=60.0)
        says(server, "error")
        systemctl.answers("show", shown())
        says(server, "ok")
        assert asked(server) == []
        assert not systemctl.called("restart")

    @pytest.mark.parametrize(("hold", "retry_after"), [(True, 0.1), (False, None)])
    def test_permanent_refusal_survives_an_outage(
        self,
        runners: Runners,
        server: FakeServer,
        systemctl: Scripted,
        monkeypatch: pytest.MonkeyPatch,
        hold: bool,
        retry_after: float | None,
    ) -> None:
        monkeypatch.setattr("clevagent.runner.watch.REFUSAL_DELAY", 0.1)
        server.answer, server.retry_after = {"hold": hold}, retry_after
        server.may_restart = (409, {"error": {"code": "held", "message": "A person stopped it."}})
        runners.start(ON_DOWN)
        server.wait_for(lambda: asked(server))
        server.wait_for(len(server.beats) + 2)
        server.status, server.retry_after = 503, None
        begun = len(server.requests)
        server.wait_for(lambda: len(server.requests) > begun + 12)
        assert not systemctl.called("restart")

    def test_temporary_refusal_ends_with_an_outage(
        self, runners: Runners, server: FakeServer, systemctl: Scripted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(budget, "DELAYS", (0, 0, 0))
        server.may_restart, server.retry_after = (409, {"error": {"code": "restart_budget"}}), 0.1
        runners.start(ON_DOWN)
        server.wait_for(3)
        assert not systemctl.called("restart")
        server.status, server.retry_after = 503, None
        server.wait_for(lambda: systemctl.called("restart"))

    def test_stopped_target_is_not_restarted(self, runners: Runners, server: FakeServer, systemctl: Scripted) -> None:
        systemctl.answers("show", shown("inactive"))
        server.may_restart = (201, command(31))
        runners.start(ON_DOWN)
        assert "stopped by someone, or finished" in says(server, "shutdown")["message"]
        server.wait_for(4)
        assert not systemctl.called("restart")


class TestSelections:
    def test_selected_targets_are_watched_and_restarted(
        self, runners: Runners, server: FakeServer, systemctl: Scripted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Finding:
            KIND = "systemd"
            validation_error = staticmethod(systemd.validation_error)
            check = staticmethod(systemd.check)
            restart = staticmethod(systemd.restart)
            stop = staticmethod(systemd.stop)
            names = ["a.service"]

            def selects(self, target: Target) -> bool:
                return target.name.startswith("label:")

            def find(self, target: Target, timeout: float) -> list[Target]:
                return [parse(f"systemd:{name}") for name in self.names]

        finding = Finding()
        monkeypatch.setitem(backends.BY_KIND, "systemd", finding)
        monkeypatch.setattr("clevagent.runner.supervise.FIND_INTERVAL", 0.05)
        runners.start("systemd:label:x=1")
        server.wait_for(lambda: server.beats_of("a.service"))
        finding.names.append("b.service")
        server.wait_for(lambda: server.beats_of("b.service"))
        server.commands.append(command(5, target="b.service"))
        server.wait_for(lambda: server.results)
        assert server.results[0][1]["status"] == "completed"
        assert not server.beats_of("label:x=1")
