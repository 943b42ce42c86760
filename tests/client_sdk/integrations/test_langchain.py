from tests.client_sdk.integrations.cases import ModelIntegration


class TestLangchain(ModelIntegration):
    NAME = ENVIRONMENT = "langchain"
    CALLS = [("weather", True)] * 3 + [("broken", False)]
    STEPS = 11
    ERRORS = ["Chain error: no such city: Paris", "LLM error: Connection error."]
