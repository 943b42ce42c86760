import pytest

from tests.client_sdk.integrations.cases import ModelIntegration

pytestmark = pytest.mark.xdist_group("crewai")


class TestCrewai(ModelIntegration):
    NAME = ENVIRONMENT = "crewai"
    CALLS = [("weather", True), ("weather", True), ("broken", False)]
    STEPS = 3
    ERRORS = []
