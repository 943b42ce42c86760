from tests.client_sdk.integrations.cases import ModelIntegration


class TestAutogen(ModelIntegration):
    NAME = ENVIRONMENT = "autogen"
    CALLS = [("weather", True)] * 4 + [("broken", False)]
    STEPS = 28
    ERRORS = ["autogen:chat failed: APIConnectionError: Connection error."]
    KNOWS = ("model", "input_tokens", "output_tokens")
