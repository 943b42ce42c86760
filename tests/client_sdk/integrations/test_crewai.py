from tests.client_sdk.integrations.cases import ModelIntegration


class TestCrewai(ModelIntegration):
    NAME = ENVIRONMENT = "crewai"
    CALLS = [("weather", True), ("weather", True), ("broken", False)]
    STEPS = 3
    ERRORS = []
