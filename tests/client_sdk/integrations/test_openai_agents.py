from tests.client_sdk.integrations.cases import ModelIntegration


class TestOpenaiAgents(ModelIntegration):
    NAME = ENVIRONMENT = "openai_agents"
    CALLS = [("weather", True)] * 4 + [("broken", False)]
    STEPS = 10
    ERRORS = []
