"""When a web process does not keep up, with the clock passed in."""

from __future__ import annotations

from agents.domain.clocks import Span
from agents.ingest import overload
from agents.ingest.load import Load
from agents.ingest.write import busy
from teams.errors import ApiError
from tests.agents.domain.test_clocks import at


def test_a_prompt_process_reports_nothing() -> None:
    load = Load()
    load.end(load.begin(at(0)), [], at(0.9))
    assert load.take_trouble(at(2)) is None


def test_waiting_heartbeats_are_trouble_at_once() -> None:
    load = Load()
    ticket = load.begin(at(0))
    load.begin(at(5))
    assert load.take_trouble(at(0.9)) is None
    assert load.take_trouble(at(6)) == Span(at(0), at(6))
    load.end(ticket, [], at(7))
    assert load.take_trouble(at(8)) == Span(at(0), at(8))


def test_a_late_answer_is_trouble_once() -> None:
    load = Load()
    load.end(load.begin(at(0)), [], at(3))
    assert load.take_trouble(at(4)) == Span(at(0), at(3))
    assert load.take_trouble(at(5)) is None


def test_refusals_for_lack_of_room_are_trouble() -> None:
    load = Load()
    load.end(load.begin(at(0)), [busy()], at(0.1))
    load.end(load.begin(at(2)), [busy()], at(2.1))
    assert load.take_trouble(at(3)) == Span(at(0), at(2.1))


def test_refusals_for_other_reasons_are_no_trouble() -> None:
    load = Load()
    load.end(load.begin(at(0)), [ApiError(403, "agent_limit_reached", "no")], at(0.1))
    assert load.take_trouble(at(3)) is None


def test_what_is_given_back_is_part_of_the_next() -> None:
    load = Load()
    load.give_back(Span(at(0), at(3)))
    load.end(load.begin(at(5)), [busy()], at(6))
    assert load.take_trouble(at(7)) == Span(at(0), at(6))


def test_a_refused_client_is_not_expected_before() -> None:
    load = Load()
    load.refuse(overload.OverloadError(7), at(1))
    assert load.take_trouble(at(2)) == Span(at(1), at(8))


def test_requests_nobody_has_seen_yet_are_trouble() -> None:
    load = Load()
    load.behind = lambda: 0.9
    assert load.take_trouble(at(10)) is None
    load.behind = lambda: 3.0
    assert load.take_trouble(at(10)) == Span(at(7), at(10))
