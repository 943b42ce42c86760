from tests.client_sdk.integrations.cases import ModelIntegration


class TestAgentchat(ModelIntegration):
    NAME = ENVIRONMENT = "agentchat"
    CALLS = [("weather", True), ("weather", True), ("broken", False)]
    STEPS = 3
    ERRORS = ["run failed: APIConnectionError: Connection error."]
    # For streams, AgentChat reports only two totals.
    KNOWS = ("input_tokens", "output_tokens")
