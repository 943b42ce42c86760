from tests.client_sdk.integrations.cases import ModelIntegration


class TestPydanticAi(ModelIntegration):
    NAME = ENVIRONMENT = "pydantic_ai"
    CALLS = [("weather", True)] * 4 + [("broken", False), ("guarded", True)]
    STEPS = 10
    ERRORS = ["run failed: ValueError: no such city: Paris"]
