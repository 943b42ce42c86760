import pytest

from tests.client_sdk.integrations.cases import ModelIntegration

pytestmark = pytest.mark.xdist_group("openai_agents")


class TestOpenaiAgents(ModelIntegration):
    NAME = ENVIRONMENT = "openai_agents"
    CALLS = [("weather", True)] * 4 + [("broken", False)]
    STEPS = 10
    ERRORS = []
