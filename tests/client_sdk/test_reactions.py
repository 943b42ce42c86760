"""Reactions to the server's warnings."""

from __future__ import annotations

from typing import Any

import pytest
from clevagent.options import Options, Reaction
from clevagent.reactions import Reactions, Reason

LOOP = {"warning": "loop_detected", "reason": "the same search 14 times", "incident": {"id": 1, "url": "http://x/1"}}
COST = {"warning": "cost_exceeded", "reason": "$30 of $25", "incident": {"id": 1}}
FINE = {"warning": None, "incident": None, "hold": False}


class Heard:
    def __init__(self, on_loop: Reaction = "alert_only", on_cost_exceeded: Reaction = "alert_only") -> None:
        self.stops: list[tuple[str, float | None]] = []
        options = Options("k", "bot", on_loop=on_loop, on_cost_exceeded=on_cost_exceeded, stop_grace=3.0)
        self.reactions = Reactions(options, lambda why, after: self.stops.append((why, after)))

    def hear(self, *answers: Any) -> Heard:
        for answer in answers:
            self.reactions.handle(answer)
        return self


def test_reaction_runs_once_per_incident() -> None:
    seen: list[Reason] = []
    heard = Heard(on_loop=seen.append, on_cost_exceeded=seen.append)
    heard.hear(LOOP, LOOP, COST, FINE, LOOP, {**LOOP, "incident": {"id": 2}})
    assert [(reason.kind, reason.incident) for reason in seen] == [("loop", 1), ("cost", 1), ("loop", 2)]
    assert seen[0] == Reason("loop", "the same search 14 times", 1, "http://x/1")
    assert str(seen[0]) == "the same search 14 times"


def test_callable_without_parameters_is_supported() -> None:
    calls: list[str] = []
    Heard(on_loop=lambda: calls.append("called")).hear(LOOP)
    assert calls == ["called"]


def test_failing_callable_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fails(reason: Reason) -> None:
        raise ValueError("oh")

    Heard(on_loop=fails).hear(LOOP, COST)
    assert "the loop callback failed" in caplog.text


@pytest.mark.parametrize(
    ("reaction", "stops", "flag"),
    [
        ("alert_only", [], False),
        ("flag", [], True),
        ("stop", [("the same search 14 times", None)], True),
        ("force_stop", [("the same search 14 times", 3.0)], True),
    ],
)
def test_each_named_reaction(reaction: str, stops: list[Any], flag: bool) -> None:
    heard = Heard(on_loop=reaction).hear(LOOP)
    assert heard.stops == stops
    assert heard.reactions.should_stop is flag


def test_flag_lasts_until_the_incident_ends() -> None:
    heard = Heard(on_loop="flag").hear(LOOP, {"warning": None, "incident": {"id": 1}})
    assert heard.reactions.should_stop
    assert not heard.hear(FINE).reactions.should_stop


def test_hold_requests_a_stop_until_lifted() -> None:
    heard = Heard().hear({**FINE, "hold": True})
    assert heard.reactions.should_stop
    assert not heard.hear(FINE).reactions.should_stop


@pytest.mark.parametrize("nonsense", [None, [], "loop_detected", {"warning": []}, {"incident": 7, "hold": "yes"}])
def test_malformed_answer_has_no_effect(nonsense: Any) -> None:
    heard = Heard(on_loop="stop").hear(nonsense)
    assert heard.stops == []
    assert not heard.reactions.should_stop
