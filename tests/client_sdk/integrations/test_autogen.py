from tests.client_sdk.integrations.cases import ModelIntegration


class TestAutogen(ModelIntegration):
    NAME = ENVIRONMENT = "autogen"
    CALLS = [("weather", True)] * 3 + [("broken", False)]
    STEPS = 22
    ERRORS = ["autogen:chat failed: APIConnectionError('Connection error.')"]
    KNOWS = ("model", "input_tokens", "output_tokens")
