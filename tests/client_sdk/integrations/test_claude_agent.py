import pytest

from tests.client_sdk.integrations.cases import AGENTS, Integration, Json, Seen


class TestClaudeAgent(Integration):
    """The SDK's subprocess does not use the model server; its own numbers are counted."""

    NAME = ENVIRONMENT = "claude_agent"
    TOOL = "Bash"
    CALLS = [("Bash", True)] * 3 + [("Bash", False), ("Bash", True)]
    STEPS = 10
    ERRORS = ["Claude failed: refused"]

    @pytest.mark.parametrize("agent", AGENTS)
    def test_running_totals_count_once(self, seen: Seen, agent: str) -> None:
        turn: Json = {"model": "claude-sonnet-4-5", "provider": None, "input_tokens": 1300, "output_tokens": 20}
        turn |= {"cache_read_tokens": 1000, "cache_write_tokens": 200, "reasoning_tokens": 5, "cost_usd": 0.0125}
        assert seen.used(agent) == [turn] * 5
