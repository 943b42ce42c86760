from tests.client_sdk.integrations.cases import ModelIntegration


class TestCrewai(ModelIntegration):
    NAME = ENVIRONMENT = "crewai"
    CALLS = [("weather", True), ("weather", True), ("broken", False)]
    STEPS = 3
    # The crew retries twice.
    ERRORS = ["LLM error: Failed to connect to OpenAI API: Connection error."]
