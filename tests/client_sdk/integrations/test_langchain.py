import pytest

from tests.client_sdk.integrations.cases import ModelIntegration

pytestmark = pytest.mark.xdist_group("langchain")


class TestLangchain(ModelIntegration):
    NAME = ENVIRONMENT = "langchain"
    CALLS = [("weather", True)] * 3 + [("broken", False)]
    STEPS = 8
    ERRORS = ["Chain error: no such city: Paris"]
