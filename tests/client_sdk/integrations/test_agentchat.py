from tests.client_sdk.integrations.cases import ModelIntegration


class TestAgentchat(ModelIntegration):
    NAME = ENVIRONMENT = "agentchat"
    CALLS = [("weather", True), ("weather", True), ("broken", False)]
    STEPS = 3
    ERRORS = ["run failed: APIConnectionError: Connection error."]
    # Of a stream AgentChat tells two sums.
    KNOWS = ("input_tokens", "output_tokens")
