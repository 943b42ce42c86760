"""guard() and the reaction "raise": what the server says, what the client knows, nothing unless asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import clevagent
import pytest
from clevagent import limits
from clevagent.guard import AgentLimit
from clevagent.options import Options
from clevagent.reactions import COST, LOOP, Reactions
from clevagent.testing import FakeServer

from tests.client_sdk.conftest import Clock

WARNED = {"incident": {"id": 7, "url": "http://x/7"}, "hold": False}
LOOPS = {**WARNED, "warning": "loop_detected", "reason": "search 6 times"}
SPENT = {**WARNED, "warning": "cost_exceeded", "reason": "$30 of $25", "hold": True}
FINE = {"warning": None, "incident": None, "hold": False}
BOTH = (LOOP, COST)


@pytest.fixture(autouse=True)
def without_sdks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(limits, "watch_models", lambda: None)
    yield
    clevagent.shutdown()
    limits._everywhere.clear()


class Agent:
    def __init__(self, **options: Any) -> None:
        self.clock, self.wall = Clock(), Clock()
        settings = Options("k", "bot", **options)
        self.reactions = Reactions(settings, lambda why, after: None, self.clock)
        self.limit = AgentLimit(settings, self.reactions, wall=self.wall)

    def hear(self, *answers: Any, is_all_known: bool = True) -> Agent:
        for answer in answers:
            self.reactions.handle(answer)
            self.limit.heard(answer, is_all_known=is_all_known)
        return self

    def stops(self, kinds: Any = BOTH) -> str:
        try:
            self.limit.check_for(kinds)
        except clevagent.Stop as stop:
            return type(stop).__name__
        return ""


@pytest.mark.parametrize(
    ("answers", "stop"),
    [
        ([], ""),
        ([FINE], ""),
        ([LOOPS], "LoopDetected"),
        ([LOOPS, {**WARNED, "warning": None}], "LoopDetected"),
        ([LOOPS, FINE], ""),
        ([SPENT], "BudgetExceeded"),
        ([SPENT, {**SPENT, "warning": None}], "BudgetExceeded"),
        # A person raised the budget; the incident goes on for another reason.
        ([SPENT, {**WARNED, "warning": None}], ""),
        ([{**FINE, "hold": True}], "Held"),
        ([{**FINE, "hold": True}, FINE], ""),
        ([LOOPS, None], "LoopDetected"),
    ],
)
def test_answers_that_stop_a_guarded_agent(answers: list[Any], stop: str) -> None:
    assert Agent().hear(*answers).stops() == stop


@pytest.mark.parametrize("reaction", ["alert_only", "flag", "stop", print])
def test_nothing_is_raised_unless_asked_for(reaction: Any) -> None:
    agent = Agent(on_loop=reaction, on_cost_exceeded=reaction, cost_limit_usd=1).hear(LOOPS, SPENT)
    clevagent.log_cost(cost_usd=5)
    agent.limit.check()


def test_each_reaction_stops_its_own_kind() -> None:
    agent = Agent(on_loop="raise").hear(SPENT)
    agent.limit.check()
    with pytest.raises(clevagent.LoopDetected, match="search 6 times") as stop:
        agent.hear(LOOPS).limit.check()
    assert (stop.value.incident, stop.value.url) == (7, "http://x/7")


def test_server_that_is_away_stops_nothing() -> None:
    agent = Agent(interval=60).hear(SPENT)
    agent.clock.now += 300
    assert agent.stops() == "BudgetExceeded"
    agent.clock.now += 1
    assert agent.stops() == ""


def test_known_budget_holds_offline() -> None:
    agent = Agent(cost_limit_usd=2, on_cost_exceeded="raise")
    for _ in range(2):
        agent.limit.check()
        agent.limit.uses(1)  # type: ignore[arg-type]
    with pytest.raises(clevagent.BudgetExceeded, match=r"\$2.00 of today's budget of \$2.00"):
        agent.limit.check()
    agent.wall.now += 86_400
    agent.limit.check()


def test_server_overrules_the_known_budget() -> None:
    agent = Agent(cost_limit_usd=2)
    agent.limit.uses(3)  # type: ignore[arg-type]
    assert agent.hear(FINE, is_all_known=False).stops() == "BudgetExceeded"
    assert agent.hear(FINE).stops() == ""


def test_guard_checks_now_and_before_each_call() -> None:
    with FakeServer(answer=SPENT) as server:
        clevagent.init(api_key=server.key, agent="bot", endpoint=server.url, report_crashes=False)
        server.wait_for(1)
        server.wait_for(lambda: clevagent.should_stop())
        limits.start_call(None)
        with pytest.raises(clevagent.BudgetExceeded, match=r"\$30 of \$25"):
            clevagent.guard()
        with pytest.raises(clevagent.BudgetExceeded):
            limits.start_call(None)


def test_raise_needs_no_guard() -> None:
    with FakeServer(answer=LOOPS) as server:
        clevagent.init(api_key=server.key, agent="bot", endpoint=server.url, on_loop="raise", report_crashes=False)
        server.wait_for(lambda: clevagent.should_stop())
        with pytest.raises(clevagent.LoopDetected):
            limits.start_call(None)
    clevagent.shutdown()
    limits.start_call(None)


def test_known_budget_holds_without_any_server() -> None:
    clevagent.init(
        api_key="cv_x",
        endpoint="http://127.0.0.1:9",
        cost_limit_usd=1,
        on_cost_exceeded="raise",
        report_crashes=False,
        spool=False,
    )
    clevagent.log_usage(model="gpt-4o-mini", provider="openai", input_tokens=10_000_000)
    with pytest.raises(clevagent.BudgetExceeded):
        limits.start_call(None)


def test_guard_covers_its_block_only() -> None:
    with clevagent.guard(clevagent.Budget(calls=1)):
        limits.start_call(None)
        with pytest.raises(clevagent.Stop):
            limits.start_call(None)
    limits.start_call(None)


def test_plain_guard_covers_the_process() -> None:
    clevagent.guard(clevagent.Budget(calls=1))
    limits.start_call(None)
    with pytest.raises(clevagent.Stop):
        limits.start_call(None)


def test_guard_in_a_loop_does_not_pile_up() -> None:
    for _ in range(100):
        clevagent.guard()
    assert len(limits._everywhere) == 1


def test_stop_can_be_pickled() -> None:
    import pickle

    stop = pickle.loads(pickle.dumps(clevagent.LoopDetected("why", 7, "http://x/7")))
    assert (str(stop), stop.incident) == ("why (http://x/7)", 7)
