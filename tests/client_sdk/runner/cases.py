"""Tests shared by all backends. A backend's test class inherits `BackendCases` and provides a `World`."""

from __future__ import annotations

import time
from typing import Protocol

from clevagent.runner import backends
from clevagent.runner.backends.base import Backend, State
from clevagent.runner.target import Target, parse

TIMEOUT = 0.5
# Maximum seconds for a check or an action, including cleanup; whatever hangs does so for at least 30 s.
LATEST = TIMEOUT + 8.0


class World(Protocol):
    """Sets up situations for `target`; `unknown_target` does not exist."""

    backend: Backend
    target: Target
    unknown_target: Target

    def runs(self) -> None: ...
    def has_failed(self) -> None: ...
    def hangs(self) -> None: ...
    def talks_nonsense(self) -> None: ...
    def is_gone(self) -> None: ...
    def refuses(self) -> None: ...


class BackendCases:
    """`bad_names` must be refused before anything is contacted."""

    bad_names: tuple[str, ...] = ()

    def test_backend_is_registered_under_its_kind(self, world: World) -> None:
        assert backends.of(world.backend.KIND) is world.backend

    def test_running_target_is_running(self, world: World) -> None:
        world.runs()
        assert world.backend.check(world.target, 5).state is State.RUNNING

    def test_failed_target_is_stopped_with_a_reason(self, world: World) -> None:
        world.has_failed()
        seen = world.backend.check(world.target, 5)
        assert seen.state is State.STOPPED
        assert seen.why
        assert not seen.ended

    def test_evidence_is_short_and_plain(self, world: World) -> None:
        world.has_failed()
        evidence = world.backend.check(world.target, 5).evidence
        assert len(evidence) <= 20
        assert all(isinstance(each, (str, int, float, bool)) and len(str(each)) <= 300 for each in evidence.values())

    def test_hanging_check_is_unknown_in_time(self, world: World) -> None:
        world.hangs()
        begun = time.monotonic()
        seen = world.backend.check(world.target, TIMEOUT)
        assert (seen.state, seen.missing) == (State.UNKNOWN, False)
        assert time.monotonic() - begun < LATEST

    def test_hanging_restart_fails_in_time(self, world: World) -> None:
        world.hangs()
        begun = time.monotonic()
        assert not world.backend.restart(world.target, TIMEOUT).ok
        # It may check before and after.
        assert time.monotonic() - begun < LATEST + 10

    def test_malformed_output_is_unknown(self, world: World) -> None:
        world.talks_nonsense()
        seen = world.backend.check(world.target, 5)
        assert (seen.state, seen.missing) == (State.UNKNOWN, False)

    def test_unreachable_source_is_unknown(self, world: World) -> None:
        world.is_gone()
        seen = world.backend.check(world.target, 5)
        assert (seen.state, seen.missing) == (State.UNKNOWN, False)
        assert seen.why

    def test_nonexistent_target_is_missing_not_stopped(self, world: World) -> None:
        world.runs()
        seen = world.backend.check(world.unknown_target, 5)
        assert (seen.state, seen.missing) == (State.UNKNOWN, True)

    def test_refusal_explains_the_fix(self, world: World) -> None:
        world.refuses()
        outcome = world.backend.restart(world.target, 5)
        assert not outcome.ok
        assert len(outcome.message) > 30

    def test_valid_name_is_accepted(self, world: World) -> None:
        assert world.backend.validation_error(world.target) == ""

    def test_invalid_name_explains_the_fix(self, world: World) -> None:
        for name in self.bad_names:
            assert f"{world.backend.KIND}:" in world.backend.validation_error(parse(f"{world.backend.KIND}:{name}")), (
                name
            )
